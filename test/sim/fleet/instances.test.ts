// Proves when instances hold GPUs, and which of them are given up first.
import t from 'tap';
import { CLUSTER_DELAYS, NO_FAULTS } from '../../../src/ts/planner/fleet/fleet.js';
import { Instances } from '../../../src/ts/planner/fleet/instances.js';
import { Nodes } from '../../../src/ts/planner/fleet/nodes.js';
import { Run } from '../../../src/ts/planner/fleet/run.js';
import { Job, type Worker } from '../../../src/ts/planner/fleet/worker.js';
import { fleet, poisson, policy, pool } from './workloads.js';

const LENGTH_S = 7200;

function partsOf(spec = {}, more = {}, models = 3) {
  const names = Array.from({ length: models }, (_, i) => `m${i}`);
  const trace = { ...poisson(1, 20, { models: names }), models: names, lengthS: LENGTH_S };
  const run = new Run(fleet([pool({ policy: policy(), ...spec })], models, 1, more), trace);
  const nodes = new Nodes(() => 0.5, NO_FAULTS);
  const instances = new Instances(run, nodes, undefined);
  return { run, nodes, instances, pool: run.pools[0]! };
}

/** Ready instances, each there from the beginning. */
function readyOf({ instances, pool }: ReturnType<typeof partsOf>, count: number): Worker[] {
  return Array.from({ length: count }, () => {
    const worker = instances.first(pool);
    instances.use(worker);
    return worker;
  });
}

const busy = (worker: Worker) => worker.tasks.push(new Job(0, 0, '', 1, false));

void t.test('those of the beginning hold the models in turn', async (t) => {
  const parts = partsOf({ resident: 2 }, {}, 4);
  const models = readyOf(parts, 3).map((worker) => worker.models);
  t.same(models, [
    [0, 1],
    [1, 3],
    [2, 1],
  ]);
  t.equal(parts.pool.loads, 0);
});

void t.test('one that starts is ready after what the controller knows late, the process and the load', async (t) => {
  const delays = { ...CLUSTER_DELAYS, reportS: 0.5 };
  const { run, instances, pool } = partsOf({ loadS: 10, processS: 3, gpus: 2, resident: 1 }, { delays });
  run.timeline.moveTo(100);
  pool.asked(2);
  instances.start(pool);
  const [worker] = pool.starting;
  t.equal(worker!.readyS, 113.5);
  t.same(worker!.models, [2], 'the model that is asked for most');
  t.same([pool.loads, pool.held.count, pool.open.size], [1, 2, 0]);
  const event = run.timeline.take();
  t.match(event, { type: 'ready' });
  t.equal(run.timeline.nowS, 113.5);
  instances.use(worker!);
  t.same([pool.starting.size, pool.open.has(worker!), worker!.atS], [0, true, 113.5]);
});

void t.test('GPUs are held until an instance is removed', async (t) => {
  const { run, nodes, instances, pool } = partsOf({ gpus: 4 });
  const [first] = readyOf({ run, nodes, instances, pool }, 1);
  run.timeline.moveTo(LENGTH_S / 2);
  instances.start(pool);
  run.timeline.moveTo((3 * LENGTH_S) / 4);
  instances.remove(pool, first!);
  t.match(instances.heldByAll(), { mean: 5, peak: 8 });
  t.equal(nodes.list.length, 1, 'two of 4 GPUs are on one node');
  t.equal(nodes.list[0]!.free, 4);
});

void t.test(
  'given up: idle ones first, the one idle for longest, then those that start, then the others',
  async (t) => {
    const parts = partsOf({ slots: 2 });
    const { instances, pool } = parts;
    const [working, idle, other, also] = readyOf(parts, 4);
    busy(working!);
    busy(also!);
    instances.start(pool);
    const [starting] = pool.starting;
    instances.giveUp(pool, 1);
    t.ok(idle!.isDead && !other!.isDead, 'at once, as it has no task');
    instances.giveUp(pool, 2);
    t.ok(other!.isDead && starting!.isDead);
    t.equal(pool.starting.size, 0);
    instances.giveUp(pool, 1);
    t.ok(working!.isEnding && !working!.isDead, 'when its task is done');
    t.same([pool.ending, pool.open.has(working!), pool.held.count], [1, false, 2]);
    instances.giveUp(pool, 1);
    t.ok(also!.isEnding, 'one that ends is not given up again');
    instances.remove(pool, working!);
    t.same([pool.ending, pool.workers.size], [1, 1]);
  },
);

void t.test('where decisions need time, they are held until no request of an earlier plan is left', async (t) => {
  const parts = partsOf({}, { delays: CLUSTER_DELAYS });
  const { run, instances, pool } = parts;
  const [first, second] = readyOf(parts, 2);
  const drain = run.drains![0]!;
  const job = new Job(0, 0, '', 1, false);
  job.plan = drain.begun();
  pool.leaving = 2;
  t.equal(pool.planned, 0, 'the next plan is without them');
  instances.leave([pool], drain);
  t.ok(first!.isEnding && !first!.isDead && second!.isEnding && !second!.isDead);
  t.same([pool.held.count, pool.leaving, pool.planned], [2, 0, 0]);
  t.equal(instances.leavePlan(job), drain);
  t.ok(first!.isDead && second!.isDead);
  t.same([pool.held.count, pool.workers.size, pool.ending], [0, 0, 0]);
  t.equal(instances.leavePlan(job), undefined, 'once');
});

void t.test('one that was given up before it was ready gets no task', async (t) => {
  const parts = partsOf({}, { delays: CLUSTER_DELAYS });
  const { run, instances, pool } = parts;
  const drain = run.drains![0]!;
  drain.begun();
  instances.start(pool);
  const [worker] = pool.starting;
  pool.leaving = 1;
  instances.leave([pool], drain);
  instances.use(worker!);
  t.ok(worker!.isReady && worker!.isEnding);
  t.equal(pool.open.size, 0);
});
