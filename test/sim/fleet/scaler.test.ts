// Proves when a scale policy is asked, and that its actions wait for what a cluster waits for.
import t from 'tap';
import { CLUSTER_DELAYS, NO_FAULTS } from '../../../src/ts/planner/fleet/fleet.js';
import { Instances } from '../../../src/ts/planner/fleet/instances.js';
import { Nodes } from '../../../src/ts/planner/fleet/nodes.js';
import { Run } from '../../../src/ts/planner/fleet/run.js';
import { Scaler } from '../../../src/ts/planner/fleet/scaler.js';
import { fleet, poisson, policy, pool } from './workloads.js';

function partsOf(pools = [pool({ policy: policy(), loadS: 10 })], more = {}) {
  const run = new Run(fleet(pools, 1, 1, { tickS: 2, calmTickS: 10, ...more }), poisson(1, 100));
  const instances = new Instances(run, new Nodes(() => 0.5, NO_FAULTS), undefined);
  return { run, instances, scaler: new Scaler(run, instances), pool: run.pools[0]! };
}

void t.test('a pool to which nothing has ever come is not asked', async (t) => {
  const { run, scaler, pool } = partsOf();
  scaler.tickLater(pool);
  t.equal(run.timeline.nextS, Number.POSITIVE_INFINITY);
  scaler.changed(pool);
  t.equal(run.timeline.nextS, 1, 'what comes first wakes it');
});

void t.test('asked soon after a change, rarely while nothing changes, and more rarely at rest', async (t) => {
  const { run, instances, scaler, pool } = partsOf();
  pool.arrived = 1;
  scaler.tick(pool, () => 1);
  t.ok(pool.workers.size > 0, 'the first request starts an instance');
  t.equal(pool.nextTickS, 10, 'calm');
  run.timeline.moveTo(5);
  scaler.changed(pool);
  t.equal(pool.nextTickS, 7);
  const stamp = pool.tickStamp;
  scaler.changed(pool);
  t.equal(pool.tickStamp, stamp, 'it is asked soon already');
  for (const worker of [...pool.workers]) instances.remove(pool, worker);
  scaler.tickLater(pool);
  t.equal(pool.nextTickS, 65, 'at rest');
  t.ok(pool.isAtRest);
  scaler.changed(pool);
  t.equal(pool.nextTickS, 6, 'woken');
});

void t.test('a pool of a fixed number is never asked', async (t) => {
  const { run, scaler, pool: only } = partsOf([pool({ fixed: 1 })]);
  scaler.changed(only);
  t.equal(run.timeline.nextS, Number.POSITIVE_INFINITY);
});

void t.test('what is counted between two ticks begins again', async (t) => {
  const { scaler, pool } = partsOf();
  pool.arrived = 3;
  pool.served = 2;
  pool.servedS = 5;
  scaler.tick(pool, () => 0);
  t.same([pool.arrived, pool.served, pool.servedS], [0, 0, 0]);
});

void t.test('an action is confirmed at once, where decisions take effect at once', async (t) => {
  const { run, scaler, pool } = partsOf();
  pool.arrived = 1;
  scaler.tick(pool, () => 1);
  t.equal(run.tally.actions, 1);
  t.equal(pool.confirmed, pool.state.actions);
});

void t.test('otherwise when its instances are ready and no request of an earlier plan is left', async (t) => {
  const pools = [pool({ policy: policy({ sloMs: 2000 }), loadS: 10 }), pool({ fixed: 1 })];
  const { run, instances, scaler, pool: first } = partsOf(pools, { delays: CLUSTER_DELAYS });
  const [, second] = run.pools;
  const drain = run.drains![0]!;
  t.equal(run.drains![1], drain, 'one plan');
  const old = drain.begun();
  first.arrived = 1;
  scaler.tick(first, () => 1);
  t.equal(first.state.actions, 1);
  t.ok(first.starting.size > 0, 'no request of an earlier plan was left, so the change begins');
  scaler.tick(first, () => 1);
  t.equal(first.confirmed, 0, 'it starts');
  for (const worker of [...first.starting]) scaler.loaded(worker);
  t.equal(first.starting.size, 0);
  scaler.tick(first, () => 1);
  t.equal(first.confirmed, 0, 'a request of the plan before is left');
  first.nextTickS = Number.POSITIVE_INFINITY;
  drain.ended(old);
  t.ok(drain.isDrained);
  scaler.drained(drain);
  t.ok(first.nextTickS < Number.POSITIVE_INFINITY, 'asked soon');
  scaler.tick(first, () => 1);
  t.equal(first.confirmed, 1);
  instances.first(second!);
  t.equal(second!.starting.size, 1, 'a pool of a fixed number is not asked, and has what it wants');
});

void t.test('where one pool of a plan acts, all are asked, so that one change has what both want', async (t) => {
  const policies = () => pool({ policy: policy({ sloMs: 2000 }), loadS: 10 });
  const { run, scaler } = partsOf([policies(), policies()], { delays: CLUSTER_DELAYS });
  const [first, second] = run.pools;
  for (const each of [first!, second!]) each.arrived = 1;
  scaler.tick(first!, () => 1);
  t.same([first!.starting.size > 0, second!.starting.size > 0], [true, true]);
  t.equal(second!.arrived, 0, 'it was asked');
  t.equal(run.tally.actions, 2);
});

void t.test('what is wanted while a change is under way waits, also after the time to confirm', async (t) => {
  const spec = pool({ policy: policy({ sloMs: 2000, confirmMs: 1000 }), loadS: 10 });
  const { run, scaler, pool: only } = partsOf([spec], { delays: CLUSTER_DELAYS });
  const drain = run.drains![0]!;
  const old = drain.begun();
  only.arrived = 1;
  scaler.tick(only, () => 1);
  for (const worker of [...only.starting]) scaler.loaded(worker);
  const before = only.workers.size;
  run.timeline.moveTo(5);
  only.arrived = 50;
  scaler.tick(only, () => 50);
  t.ok(only.wanted > before, 'the action counts as lost, so it wants another number');
  t.equal(only.workers.size, before, 'and nothing starts: a request of the plan before is left');
  drain.ended(old);
  scaler.tick(only, () => 50);
  t.equal(only.workers.size, only.wanted);
});
