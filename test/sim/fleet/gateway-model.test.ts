// Proves what a fleet behind one gateway does: the shipped admission and forecast, plans that drain, and deadlines.
import t from 'tap';
import { CLUSTER_DELAYS } from '../../../src/ts/planner/fleet/fleet.js';
import { PlanDrain } from '../../../src/ts/planner/fleet/plan-drain.js';
import { Worker } from '../../../src/ts/planner/fleet/worker.js';
import { fleet, poisson, policy, pool, run } from './workloads.js';

const node = { workers: new Set<Worker>(), factor: 1 } as never;

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

void t.test('a worker is given up when no request of an earlier plan is left, the earliest first', (t) => {
  const drain = new PlanDrain();
  const [a, b] = [new Worker(0, node, 0), new Worker(0, node, 0)];
  const first = drain.begun();
  t.same(drain.change([a]), [], 'a request of the plan before is under way');
  const second = drain.begun();
  t.same(drain.change([b]), []);
  t.notOk(drain.isDrained);
  t.same(drain.ended(second), [], 'the first plan is not done');
  t.strictSame(drain.ended(first), [a, b]);
  t.ok(drain.isDrained);
  t.end();
});

void t.test('fleets that one gateway is not for are refused', (t) => {
  const says = { code: 'RDMA_ERR_NOT_SUPPORTED', message: /a chain of pools whose instances are alike/ };
  t.throws(() => run(fleet([pool({ resident: 1 })], 1, 1, { hasGateway: true }), poisson(1, 10)), says);
  t.end();
});
