// Runs the tests of the Python package by pytest, with the Python that Debian has.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t from 'tap';

const folder = path.resolve(__dirname, '../../../test/python');

void t.test('the Python package passes its own tests', async (t) => {
  const options = ['-q', '-p', 'no:cacheprovider', '--color=no', folder];
  const { status, stdout, stderr } = spawnSync('/usr/bin/python3', ['-B', '-m', 'pytest', ...options], {
    encoding: 'utf8',
    timeout: 200_000,
  });
  t.equal(status, 0, 'pytest');
  t.match(stdout, /\b[1-9]\d+ passed/, 'more than nine pass');
  if (status !== 0) t.comment(`${stdout}\n${stderr}`);
});
