// Proves when a newcomer would be done, from what each pool on its way has ahead of it.
import t from 'tap';
import { PoolForecast } from '../../../src/ts/planner/fleet/pool-forecast.js';
import { Run } from '../../../src/ts/planner/fleet/run.js';
import { Job, Worker } from '../../../src/ts/planner/fleet/worker.js';
import { fleet, poisson, policy, pool } from './workloads.js';

const trace = { ...poisson(1, 20), units: Float32Array.of(2) };
const node = { index: 0, factor: 1, workers: new Set<Worker>(), free: 8 };
const jobOf = () => new Job(0, 0, '', 100, false);

/** A run whose pools have this many ready workers each, every one with a task. */
function runOf(workers: readonly number[], more = {}) {
  const run = new Run(fleet(workers.map(() => pool(more))), trace);
  run.pools.forEach((each, i) => {
    for (let n = 0; n < workers[i]!; n++) each.workers.add(new Worker(i, node, 0));
    each.running = workers[i]!;
  });
  return run;
}

void t.test('work that waits and half of what runs is ahead, shared by the instances', async (t) => {
  const run = runOf([2]);
  run.pools[0]!.waitingS = 10;
  // 10 s wait and two tasks of 2 s are half done: 12 s by two. Then its own 2 s.
  t.equal(new PoolForecast(run).completionUs(jobOf()), 8e6);
});

void t.test('where an instance has room nothing is ahead', async (t) => {
  const run = runOf([2]);
  const [first] = run.pools[0]!.workers;
  run.pools[0]!.openUp(first!);
  t.equal(new PoolForecast(run).completionUs(jobOf()), 2e6);
});

void t.test('each pool on the way adds its own part', async (t) => {
  const run = runOf([1, 1]);
  for (const each of run.pools) {
    const [first] = each.workers;
    each.openUp(first!);
  }
  t.equal(new PoolForecast(run).completionUs(jobOf()), 4e6);
});

void t.test('instances that start serve from then on', async (t) => {
  const run = runOf([0]);
  const [only] = run.pools;
  const worker = new Worker(0, node, 30);
  only!.workers.add(worker);
  only!.starting.add(worker);
  run.timeline.moveTo(5);
  t.equal(new PoolForecast(run).completionUs(jobOf()), 27e6, 'ready in 25 s, then 2 s');
});

void t.test('where none is, one starts at once if a policy decides, and never if the number is fixed', async (t) => {
  const scaled = runOf([0], { policy: policy(), loadS: 10, processS: 3 });
  t.equal(new PoolForecast(scaled).completionUs(jobOf()), 15e6);
  t.equal(new PoolForecast(runOf([0], { fixed: 1 })).completionUs(jobOf()), Number.POSITIVE_INFINITY);
});
