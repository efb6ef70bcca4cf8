// Proves: where there is no bench/, as in an installed package, the benchmarks measure what is ours, and say what they
// lack: in one line where a comparison was not insisted on, and with exit code 2 where it was.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/ts/addon/native.js';
import { scratch } from './command.js';

/** The package as it is installed: what the build has made, without the checkout around it. */
const installed = join(scratch(), 'onepiece-rdma');
mkdirSync(installed);
for (const name of ['lib', 'package.json'])
  cpSync(join(packageRoot(), name), join(installed, name), { recursive: true });
for (const name of ['node_modules', 'build', 'prebuilds', 'src']) {
  symlinkSync(join(packageRoot(), name), join(installed, name));
}

function bench(...args: string[]) {
  const command = [join(installed, 'lib/cli/main.js'), 'bench', ...args];
  return spawnSync(process.execPath, command, { cwd: installed, encoding: 'utf8', timeout: 60_000 });
}

const NEEDS = /needs a checkout of onepiece-rdma/;

void t.test('a peer that was named is a usage error, with a remedy, before anything is measured', async (t) => {
  for (const args of [
    ['ring-lat', '--compare', 'unix'],
    ['rings', '--compare', 'redis,nats'],
    ['pipeline', '--compare', 'openmpi'],
    ['overload', '--compare', 'bullmq'],
    ['device', '--compare', 'ucx'],
    ['write-lat', '--compare', 'perftest'],
    ['deadlock', '--trials', '1'],
  ]) {
    const { status, stdout, stderr } = bench(...args);
    t.equal(status, 2, args.join(' '));
    t.match(stderr, NEEDS, args.join(' '));
    t.match(stderr, /npm ci/);
    t.equal(stdout, '');
  }
});

void t.test('all peers are none: ours is measured, and one line says so', async (t) => {
  const { status, stdout, stderr } = bench('ring-lat', '--iterations', '5', '--compare', 'all', '--json');
  t.equal(status, 0, stderr);
  t.match(stderr, NEEDS);
  t.equal(stderr.trim().split('\n').length, 1);
  t.match(JSON.parse(stdout), { peers: {}, results: [{ test: 'ring-lat', peer: null, iterations: 5 }] });
});

void t.test('without --compare nothing is said', async (t) => {
  const { status, stderr } = bench('read-lat', '-n', '5', '--warm-up', '5');
  t.equal(status, 0, stderr);
  t.notMatch(stderr, /checkout/);
  t.match(bench('ring-lat', '--help').stdout, /Peers for --compare: none here: they need a checkout/);
});
