// Proves that plans change as the shipped controller changes them: one change at a time, for all pools of a plan.
import t from 'tap';
import { CLUSTER_DELAYS, NO_FAULTS } from '../../../src/ts/planner/fleet/fleet.js';
import { Instances } from '../../../src/ts/planner/fleet/instances.js';
import { Nodes } from '../../../src/ts/planner/fleet/nodes.js';
import { PlanChange } from '../../../src/ts/planner/fleet/plan-change.js';
import type { Pool } from '../../../src/ts/planner/fleet/pool.js';
import { Run } from '../../../src/ts/planner/fleet/run.js';
import { gentd26LikeTrace } from '../../../src/ts/planner/traces/gentd26-like.js';
import { FleetBuilder } from '../../../src/ts/planner/fleet/fleet-builder.js';
import { behindGateway } from '../../../src/ts/planner/fleet/gateway-choice.js';
import { DEFAULT_SETTINGS } from '../../../src/ts/planner/fleet/settings.js';
import { fleet, poisson, policy, pool, run as simulated, wan } from './workloads.js';

function partsOf(count = 2) {
  const pools = Array.from({ length: count }, () => pool({ policy: policy(), loadS: 10 }));
  const run = new Run(fleet(pools, 1, 1, { delays: CLUSTER_DELAYS }), poisson(1, 100));
  const instances = new Instances(run, new Nodes(() => 0.5, NO_FAULTS), undefined);
  const drain = run.drains![0]!;
  return { run, drain, pools: run.pools, change: new PlanChange(run.pools, drain, instances) };
}

function load(change: PlanChange, { starting }: Pool) {
  const [worker] = [...starting].filter(({ isLoaded }) => !isLoaded);
  worker!.isLoaded = true;
  return change.goOn();
}

void t.test('instances take tasks when all of the change have loaded, those of other pools too', async (t) => {
  const { change, pools } = partsOf();
  const [a, b] = pools;
  a!.wanted = 2;
  b!.wanted = 1;
  t.same(change.begin(), []);
  t.same([a!.starting.size, b!.starting.size], [2, 1]);
  t.same(load(change, a!), []);
  t.same(load(change, a!), [], 'the other pool is not ready');
  t.equal(a!.open.size, 0);
  t.ok(change.isUnderWay);
  t.equal(load(change, b!).length, 3);
  t.same([a!.open.size, b!.open.size, change.isUnderWay], [2, 1, false]);
  t.ok(change.isCarriedOut(a!));
});

void t.test('the next change waits until no request of the plan before is left', async (t) => {
  const { change, pools, drain } = partsOf();
  const [a] = pools;
  a!.wanted = 1;
  change.begin();
  load(change, a!);
  const old = drain.begun();
  a!.wanted = 2;
  change.begin();
  load(change, a!);
  t.ok(change.isUnderWay, 'a request is under the plan before');
  t.notOk(change.isCarriedOut(a!));
  a!.wanted = 3;
  change.begin();
  t.equal(a!.workers.size, 2, 'nothing starts');
  drain.ended(old);
  t.notOk(change.isUnderWay);
  change.begin();
  t.equal(a!.workers.size, 3);
});

void t.test('those that leave work until the others of the change have loaded, and are not planned with', async (t) => {
  const { change, pools, drain } = partsOf();
  const [a, b] = pools;
  a!.wanted = 2;
  change.begin();
  load(change, a!);
  load(change, a!);
  const old = drain.begun();
  a!.wanted = 1;
  b!.wanted = 1;
  change.begin();
  t.same([a!.planned, a!.open.size, b!.planned], [1, 2, 1]);
  t.equal(load(change, b!).length, 1);
  t.same([a!.open.size, a!.ending, a!.workers.size], [1, 1, 2], 'held by the request of the plan before');
  for (const worker of drain.ended(old)) t.ok(worker.isEnding);
});

void t.test('nothing to change is no change', async (t) => {
  const { change, drain } = partsOf();
  t.same(change.begin(), []);
  t.notOk(change.isUnderWay);
  t.equal(drain.begun(), 0, 'the plan is the first one');
});

void t.test('no pool ever holds more than its policy allows, behind a gateway and with a queue for each', async (t) => {
  for (const hasGateway of [true, false]) {
    // One gateway is for instances that are alike, so for one model.
    const trace = gentd26LikeTrace({ seed: 3, models: hasGateway ? 1 : 46 });
    const work = wan('wan21-i2v-14b-480p-40', { trace, delays: CLUSTER_DELAYS, variants: 'adapter' });
    const costs = trace.models.map(() => work.costs[0]!);
    // Quick to give up, so that many plans drain.
    const quick = { ...DEFAULT_SETTINGS, most: 0.5, downAfterLoads: 0.1, zeroAfterLoads: 0.2, zeroAfterGaps: 0 };
    const builder = new FleetBuilder({ ...work, costs });
    const spec = behindGateway(builder.staged('staged-elastic', { ...quick, evidence: 3 }), { ...work, costs });
    t.equal(spec.hasGateway, hasGateway);
    const { pools } = simulated(spec, trace);
    for (const [i, { name, gpusPeak }] of pools.entries()) {
      const { max } = spec.pools[i]!.policy!;
      t.ok(gpusPeak <= max, `${name}: ${gpusPeak} of at most ${max}`);
    }
    t.ok(
      pools.some(({ gpusPeak }, i) => gpusPeak === spec.pools[i]!.policy!.max),
      'and some pool is at its maximum',
    );
  }
});

void t.test('nodes that die while plans change: every request ends', async (t) => {
  const trace = gentd26LikeTrace({ seed: 4 });
  const work = wan('wan21-i2v-14b-480p-40', { trace, delays: CLUSTER_DELAYS, variants: 'adapter' });
  const costs = trace.models.map(() => work.costs[0]!);
  const builder = new FleetBuilder({ ...work, costs });
  for (const isStaged of [true, false]) {
    const settings = { ...DEFAULT_SETTINGS, most: 0.5, downAfterLoads: 0.1 };
    const spec = isStaged ? builder.staged('s', settings) : builder.monoShared('m', undefined, settings);
    const { nodeDeaths, tasksAgain, inTime } = simulated(spec, trace, 1, { ...NO_FAULTS, nodeDeathsPerHour: 2 });
    t.ok(nodeDeaths > 10 && tasksAgain > 10, `${nodeDeaths} deaths, ${tasksAgain} tasks again`);
    t.ok(inTime > 0.9, `${inTime}`);
  }
});
