// Proves what a fleet behind one gateway does: the shipped admission and forecast, plans that drain, and deadlines.
import t from 'tap';
import { FleetBuilder } from '../../../src/ts/planner/fleet/fleet-builder.js';
import { DEFAULT_SETTINGS } from '../../../src/ts/planner/fleet/settings.js';
import type { Workload } from '../../../src/ts/planner/fleet/workload.js';
import { behindGateway } from '../../../src/ts/planner/fleet/gateway-choice.js';
import { CLUSTER_DELAYS, type ClusterDelays, NO_FAULTS } from '../../../src/ts/planner/fleet/fleet.js';
import { plansOf } from '../../../src/ts/planner/fleet/plan-drain.js';
import { fleet, poisson, policy, pool, run, wan } from './workloads.js';

void t.test('a chosen instance is kept, so requests wait longer than in one queue of all', (t) => {
  const trace = poisson(3, 2000, { units: (u) => 0.5 + u });
  const pools = [pool({ fixed: 2, hintS: 0.2 }), pool({ fixed: 4, hintS: 1 })];
  const own = fleet(pools);
  const routes = own.routes.map((steps) => steps.map((step, i) => ({ ...step, seconds: i === 0 ? 0.2 : 1 })));
  const together = run({ ...own, routes }, trace);
  const behind = run({ ...own, routes, hasGateway: true }, trace);
  t.equal(behind.requests, together.requests);
  t.ok(behind.p95S > 1.03 * together.p95S, `p95 ${behind.p95S} and ${together.p95S}`);
  t.ok(behind.p50S < 1.3 * together.p50S);
  t.end();
});

void t.test(
  'deadlines under overload: most are refused at the door, few end later, and who is served is in time',
  (t) => {
    const trace = poisson(6, 600, { units: (u) => 0.5 + u });
    const due = { ...trace, deadlineS: trace.deadlineS.map(() => 4) };
    const found = run(fleet([pool({ fixed: 4 })], 1, 1, { hasGateway: true }), due);
    t.ok(found.rejected > 0.25 && found.rejected < 0.45, `${found.rejected} refused`);
    t.ok(found.expired < 0.02, `${found.expired} ended at their deadline`);
    t.ok(found.p95S <= 4);
    t.end();
  },
);

void t.test('each pool for itself: who waits beyond the deadline ends there', (t) => {
  const trace = poisson(3, 300, { units: (u) => (u < 0.5 ? 0.1 : 2) });
  const due = { ...trace, deadlineS: trace.deadlineS.map(() => 3) };
  const found = run(fleet([pool({ fixed: 3 })]), due);
  t.ok(found.expired >= 0 && found.rejected + found.expired < 1);
  t.ok(found.p95S <= 3);
  t.end();
});

void t.test('what a cluster needs to carry out a decision costs GPU time and actions', (t) => {
  const trace = poisson(1, 4000);
  const scaled = pool({ policy: policy({ evidence: 6, downAfterMs: 10_000, min: 1 }), loadS: 10 });
  const atOnce = run(fleet([scaled]), trace);
  const planned = run(fleet([scaled], 1, 1, { delays: CLUSTER_DELAYS }), trace);
  t.ok(planned.actions > 0 && planned.actions <= atOnce.actions + 5);
  t.equal(run(fleet([scaled], 1, 1, { delays: CLUSTER_DELAYS }), trace).gpusMean, planned.gpusMean, 'the same again');
  t.end();
});

void t.test('pools that no request has in common have plans of their own', (t) => {
  const scaled = pool({ policy: policy({ evidence: 6, downAfterMs: 10_000, min: 1 }), loadS: 10 });
  const apart = fleet([scaled, scaled], 2);
  const own = { ...apart, routes: apart.routes.map((route, model) => [route[model]!]), delays: CLUSTER_DELAYS };
  t.same(plansOf(apart), [0, 0]);
  t.same(plansOf(own), [0, 1]);
  // Requests of one model do not hold up the plans of the other.
  const trace = poisson(1, 4000);
  const alone = run(fleet([scaled], 1, 1, { delays: CLUSTER_DELAYS }), trace);
  const beside = run(own, { ...trace, models: ['a', 'b'] });
  t.equal(beside.pools[0]!.gpusMean, alone.pools[0]!.gpusMean);
  t.end();
});

void t.test('each delay costs what it says', (t) => {
  const trace = { ...poisson(1, 4000), arrivalS: Float64Array.of(0), lengthS: 4000 };
  const one = { ...trace, model: trace.model.slice(0, 1), units: Float32Array.of(1) };
  const first = (processS: number, delays?: ClusterDelays) => {
    const scaled = pool({ policy: policy({ sloMs: 60_000 }), loadS: 10, processS });
    return run(fleet([scaled], 1, 1, { tickS: 1, delays }), one).p50S;
  };
  const plain = first(0);
  t.equal(first(3), plain + 3, 'the start of a process');
  t.equal(first(0, { ...CLUSTER_DELAYS, reportS: 0.5 }), plain + 0.5, 'what the controller knows is old');
  t.end();
});

void t.test('the start of a process is added to load times that are without it, and only to those', (t) => {
  const work = wan('wan21-i2v-14b-480p-40', {}, 1);
  const processOf = (loadsFromStart: boolean, more: Partial<Workload> = {}) => {
    const costs = work.costs.map((each) => {
      const stages = each.stages.map((stage) => ({ ...stage, loadsFromStart }));
      return { ...each, stages, wholeLoadsFromStart: loadsFromStart };
    });
    const builder = new FleetBuilder({ ...work, delays: undefined, ...more, costs });
    const { staged, mono, shared } = {
      staged: builder.staged('staged', DEFAULT_SETTINGS),
      mono: builder.mono('mono', undefined, DEFAULT_SETTINGS),
      shared: builder.monoShared('shared', undefined, DEFAULT_SETTINGS),
    };
    return [...staged.pools, ...mono.pools, ...shared.pools].map(({ processS }) => processS);
  };
  t.same(new Set(processOf(false)), new Set([CLUSTER_DELAYS.processS]));
  t.same(new Set(processOf(true)), new Set([0]));
  t.same(new Set(processOf(false, { delays: null })), new Set([0]));
  t.same(new Set(processOf(false, { delays: { ...CLUSTER_DELAYS, processS: 7 } })), new Set([7]));
  t.end();
});

void t.test('a fleet has one gateway where its instances are alike, if the workload does not refuse it', (t) => {
  const has = (models: number, more: Partial<Workload> = {}, faults = NO_FAULTS) => {
    const work = wan('wan21-i2v-14b-480p-40', more, models);
    const staged = new FleetBuilder(work).staged('staged', DEFAULT_SETTINGS);
    return behindGateway(staged, work, faults).hasGateway;
  };
  t.equal(has(1, { delays: undefined }), true);
  t.equal(has(1, { delays: null }), false, 'a plan has to hold what was chosen');
  t.equal(has(6, { delays: undefined }), false, 'instances hold other models');
  t.equal(has(1, { delays: undefined, hasGateway: false }), false);
  t.equal(has(1, { delays: undefined }, { ...NO_FAULTS, nodeDeathsPerHour: 1 }), false, 'a node may die');
  t.end();
});

void t.test('instances that change their models: the gateway does not know who holds which', (t) => {
  const trace = poisson(1.5, 2000, { units: (u) => 0.5 + u, models: ['a', 'b', 'c', 'd'] });
  const holders = fleet([pool({ fixed: 3, resident: 1, swapS: 0.3 })], 4);
  const knowing = run(holders, trace);
  const blind = run({ ...holders, hasGateway: true }, trace);
  t.equal(blind.requests, knowing.requests);
  t.ok(blind.loads > 1.05 * knowing.loads, `${blind.loads} and ${knowing.loads} loads`);
  const [only] = holders.pools;
  const forgetful = run({ ...holders, pools: [{ ...only!, affinity: false }] }, trace);
  t.ok(forgetful.loads > 1.05 * knowing.loads, `${forgetful.loads} loads where what they hold does not count`);
  t.ok(blind.p50S > knowing.p50S, `p50 ${blind.p50S} and ${knowing.p50S}`);
  t.end();
});

void t.test('fleets that one gateway is not for are refused', (t) => {
  const says = { code: 'RDMA_ERR_NOT_SUPPORTED', message: /a chain of pools on nodes that stay/ };
  for (const more of [{ prefetch: true }, { patienceS: 5 }]) {
    const own = fleet([pool({ resident: 1, ...more })], 1, 1, { hasGateway: true });
    t.throws(() => run(own, poisson(1, 10)), says);
  }
  t.throws(() => run(fleet([pool({ policy: policy() })], 1, 1, { hasGateway: true }), poisson(1, 10)), says);
  t.end();
});
