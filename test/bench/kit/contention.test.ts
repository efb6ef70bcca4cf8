// Proves: a measurement that has to share a core says so, and one that has its own does not.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import t from 'tap';
import { allowedCores } from '../../../src/ts/bench/kit/affinity.js';
import { Contention } from '../../../src/ts/bench/kit/contention.js';

const BURN = 'for (const end = Date.now() + 20_000; Date.now() < end; );';
const cores = allowedCores();

function burn(core: number): ChildProcess {
  const child = spawn(process.execPath, ['-e', BURN], { stdio: 'ignore' });
  spawnSync('taskset', ['-c', '-p', String(core), String(child.pid)]);
  return child;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

void t.test('two that compute on one core wait half of the time', async (t) => {
  const children = [burn(cores[0]!), burn(cores[0]!)];
  t.teardown(() => {
    for (const child of children) child.kill('SIGKILL');
  });
  const contention = new Contention(children.map(({ pid }) => pid!));
  await pause(1000);
  const share = contention.waitedShare;
  t.ok(share > 0.3, `${share}`);
  t.match(contention.warning(), /^for \d+ % of the time a side waited for the processor/);
});

void t.test('who sleeps waits for nothing, and who is gone is left out', async (t) => {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 20_000)'], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  await pause(500);
  const contention = new Contention([child.pid!, 2 ** 22]);
  await pause(300);
  t.equal(contention.waitedShare, 0);
  t.equal(contention.warning(), undefined);
});
