// Proves when tasks begin and end, what they load before, and what they add to the tally.
import t from 'tap';
import { CLUSTER_DELAYS } from '../../../src/ts/planner/fleet/fleet.js';
import { Run } from '../../../src/ts/planner/fleet/run.js';
import { Tasks } from '../../../src/ts/planner/fleet/tasks.js';
import { Job, Worker } from '../../../src/ts/planner/fleet/worker.js';
import { fleet, poisson, pool } from './workloads.js';

const node = { index: 0, factor: 1, workers: new Set<Worker>(), free: 8 };

function jobOf(request: number, workS: number, model = 0): Job {
  const job = new Job(request, model, '', Number.POSITIVE_INFINITY, false);
  job.workS = workS;
  return job;
}

function partsOf(spec = {}, more = {}) {
  const run = new Run(fleet([pool(spec)], 2, 1, more), poisson(1, 10));
  const [only] = run.pools;
  const worker = new Worker(0, node, 0);
  only!.workers.add(worker);
  only!.openUp(worker);
  const done: number[] = [];
  const next = { done: (_: unknown, { request }: Job) => void done.push(request) };
  return { run, pool: only!, worker, tasks: new Tasks(run), done, next };
}

void t.test('tasks that end at one time end together; those with work left go on', async (t) => {
  const { run, pool, worker, tasks, done, next } = partsOf({ slots: 3, gpus: 2 });
  for (const [request, workS] of [3, 5, 3].entries()) tasks.start(pool, worker, jobOf(request, workS));
  t.equal(run.timeline.nextS, 3, 'foretold when it was alone');
  t.notOk(pool.open.has(worker), 'it has no room');
  t.equal(pool.running, 3);
  run.timeline.moveTo(9);
  t.equal(tasks.end(worker, next), true, 'it had no room');
  t.same(done, [2, 0], 'three at once take three times as long');
  t.same([pool.running, worker.tasks.length, worker.tasks[0]!.request], [1, 1, 1]);
  t.ok(Math.abs(worker.tasks[0]!.leftS - 2) < 1e-9);
  run.timeline.moveTo(11);
  t.equal(tasks.end(worker, next), false, 'it had room');
  t.same(done, [2, 0, 1]);
  t.equal(run.tally.busyGpuS, 22);
});

void t.test('the mean time of tasks counts warm ones, and what one took that was alone', async (t) => {
  const { run, pool, worker, tasks, next } = partsOf({ resident: 1, swapS: 4, gpus: 3 });
  tasks.start(pool, worker, jobOf(0, 2));
  t.equal(run.tally.switchGpuS, 12);
  run.timeline.moveTo(6);
  tasks.end(worker, next);
  t.equal(pool.served, 0, 'it loaded first');
  tasks.start(pool, worker, jobOf(1, 2));
  run.timeline.moveTo(8.5);
  tasks.end(worker, next);
  t.same([pool.served, pool.servedS], [1, 2.5], 'from its start to its end');
  t.same([run.tally.busyGpuS, run.tally.switchGpuS], [12, 12]);
});

void t.test('a task that stops gives back the work that it lacks, not more than it has', async (t) => {
  const { run, pool, worker, tasks } = partsOf({ resident: 1, swapS: 4 });
  const job = jobOf(0, 10);
  tasks.start(pool, worker, job);
  run.timeline.moveTo(3);
  t.equal(tasks.stop(pool, worker, job), true);
  t.equal(run.tally.busyGpuS, 0, 'it was still loading');
  t.same([job.worker, worker.tasks.length, pool.running], [undefined, 0, 0]);
  tasks.start(pool, worker, job);
  run.timeline.moveTo(7);
  tasks.stop(pool, worker, job);
  t.equal(run.tally.busyGpuS, 4);
});

void t.test('a request belongs to the plan under which its first task began', async (t) => {
  const { run, pool, worker, tasks } = partsOf({ slots: 2 }, { delays: CLUSTER_DELAYS });
  const [first, second] = [jobOf(0, 1), jobOf(1, 1)];
  tasks.start(pool, worker, first);
  run.drains![0]!.change([]);
  tasks.stop(pool, worker, first);
  tasks.start(pool, worker, first);
  tasks.start(pool, worker, second);
  t.same([first.plan, second.plan], [0, 1]);
  const atOnce = partsOf();
  tasks.stop(pool, worker, first);
  const free = jobOf(2, 1);
  atOnce.tasks.start(atOnce.pool, atOnce.worker, free);
  t.equal(free.plan, -1, 'there are no plans');
});
