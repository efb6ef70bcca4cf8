// Proves: what makes no sense is a usage error before anything is opened; a device that is not there, and a peer that
// is not installed, say so before anything is measured.
import t from 'tap';
import { onepiece, scratch } from '../../cli/command.js';

const cwd = scratch();
const bad: Record<string, string[]> = {
  'an argument': ['64'],
  'no such test': ['--only', 'write-seen,write-speed'],
  'no test': ['--only', ''],
  'a size of 0': ['--size', '0'],
  'a size in words': ['--size', 'big'],
  'a size above 1 GiB': ['--size', '2g'],
  'too few iterations': ['--iterations', '99'],
  'no time to be idle': ['--idle-seconds', '0'],
  'a peer that nobody knows': ['--compare', 'ucx,mpich'],
  'an option that nobody knows': ['--frob'],
};

void t.test('usage errors exit 2 and print nothing on stdout', async (t) => {
  for (const [name, args] of Object.entries(bad)) {
    const ended = await onepiece(['bench', 'device', ...args], cwd);
    t.equal(ended.code, 2, `${name}: ${ended.stderr}`);
    t.equal(ended.stdout, '', name);
    t.not(ended.stderr, '', name);
  }
});

void t.test('a device that is not there exits 3', async (t) => {
  const ended = await onepiece(['bench', 'device', '-d', 'none0'], cwd);
  t.equal(ended.code, 3);
  t.match(ended.stderr, /no device none0/);
});

void t.test('a peer that is not installed exits 1 and names its package', async (t) => {
  const path = process.env.PATH;
  t.teardown(() => {
    process.env.PATH = path;
  });
  process.env.PATH = '/nonexistent';
  for (const [peer, packages] of [
    ['ucx', /apt-get install ucx-utils/],
    ['openmpi', /apt-get install openmpi-bin libopenmpi-dev/],
  ] as const) {
    const ended = await onepiece(['bench', 'device', '--compare', peer], cwd);
    t.equal(ended.code, 1);
    t.equal(ended.stdout, '');
    t.match(ended.stderr, packages);
  }
});
