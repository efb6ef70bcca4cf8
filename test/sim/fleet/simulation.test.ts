// Proves that a simulated fleet serves each request once, does what its pools say, and is the same for the same seed.
import t from 'tap';
import { NO_FAULTS } from '../../../src/ts/planner/fleet/fleet.js';
import { TraceBuilder } from '../../../src/ts/planner/traces/trace.js';
import { exponentialUnits, fleet, policy, poisson, pool, run } from './workloads.js';

function traceOf(rows: readonly (readonly [s: number, model: string, deadlineS?: number])[], lengthS?: number) {
  const builder = new TraceBuilder('rows');
  rows.forEach(([arrivalS, model, deadlineS], i) => {
    builder.add({ arrivalS, model, deadlineS }, `row ${i}`);
  });
  return builder.done(lengthS);
}

void t.test('the same seed is the same result, with faults too', async (t) => {
  const trace = poisson(0.5, 20_000, { units: exponentialUnits });
  const faults = {
    ...NO_FAULTS,
    nodeDeathsPerHour: 2,
    slowNodes: 0.3,
    slowFactor: 2,
    storeOutagesPerHour: 1,
    storeOutageS: 60,
  };
  const spec = fleet([pool({ policy: policy() })]);
  t.same(run(spec, trace, 5, faults), run(spec, trace, 5, faults));
  t.notSame(run(spec, trace, 5, faults), run(spec, trace, 6, faults));
});

void t.test('a pool without load has no instance, and the first request waits for one to start', async (t) => {
  const trace = traceOf([[5000, 'a']], 20_000);
  const result = run(fleet([pool({ policy: policy({ zeroAfterMs: 60_000 }), loadS: 30 })]), trace);
  t.ok(result.meanS > 31 && result.meanS < 40, `${result.meanS} s`);
  t.equal(result.loads, 1);
  t.ok(result.gpusMean < 0.05 && result.gpusPeak === 1, `${result.gpusMean} GPUs`);
});

void t.test('GPUs are held from the start of an instance to its end', async (t) => {
  const result = run(fleet([pool({ fixed: 3, gpus: 8 })]), traceOf([[0, 'a']], 7200));
  t.match(result, { gpusMean: 24, gpusP99: 24, gpusPeak: 24, gpuHours: 48 });
  t.same(result.hours, [
    { mean: 24, peak: 24 },
    { mean: 24, peak: 24 },
  ]);
});

void t.test('an instance that holds one model loads another one, and goes on with its own first', async (t) => {
  const rows = [
    [0, 'a'],
    [0.1, 'b'],
    [0.2, 'a'],
    [0.3, 'b'],
  ] as const;
  const swapping = pool({ fixed: 1, resident: 1, swapS: 100, loadS: 100 });
  const inOrder = run(fleet([swapping], 2), traceOf(rows, 1000));
  t.equal(inOrder.loads, 3, 'a is there; b, a, b are loaded');
  const patient = run(fleet([{ ...swapping, patienceS: 500 }], 2), traceOf(rows, 1000));
  t.equal(patient.loads, 1, 'both of a, then b is loaded once');
  const roomy = run(fleet([{ ...swapping, resident: 2 }], 2), traceOf(rows, 1000));
  t.equal(roomy.loads, 0, 'both are in memory');
});

void t.test('models of another family are loaded whole', async (t) => {
  const rows = [
    [0, 'a'],
    [0.1, 'b'],
  ] as const;
  const near = run(fleet([pool({ resident: 1, swapS: 4, loadS: 100 })], 2), traceOf(rows, 1000));
  const far = run(
    fleet([pool({ resident: 1, swapS: 4, loadS: 100, families: Uint16Array.of(0, 1) })], 2),
    traceOf(rows, 1000),
  );
  t.ok(Math.abs(near.switchGpuHours * 3600 - 4) < 1e-6);
  t.ok(Math.abs(far.switchGpuHours * 3600 - 100) < 1e-6);
});

void t.test('who would be late by the forecast, or finds the queue full, is refused', async (t) => {
  const rows = Array.from({ length: 10 }, () => [0, 'a', 3.5] as const);
  const hurried = run(fleet([pool()]), traceOf(rows, 100));
  t.ok(hurried.rejected >= 0.5 && hurried.rejected <= 0.7, `${hurried.rejected} are refused of 10 that have 3.5 s`);
  const full = run(
    fleet([pool()], 1, 1, { maxQueued: 4 }),
    traceOf(
      rows.map(() => [0, 'a'] as const),
      100,
    ),
  );
  t.equal(full.rejected, 0.5, 'one works, four wait');
  t.notOk(full.sloMet, 'a refused request is not in time');
});

void t.test('when a node dies its tasks begin again elsewhere, and every request is served', async (t) => {
  const trace = poisson(0.3, 50_000, { units: (u) => 5 + 20 * u });
  const faults = { ...NO_FAULTS, nodeDeathsPerHour: 3 };
  for (const spec of [fleet([pool({ fixed: 12 })]), fleet([pool({ policy: policy({ sloMs: 60_000 }) })])]) {
    const calm = run(spec, trace);
    const stormy = run(spec, trace, 1, faults);
    t.ok(stormy.nodeDeaths > 10 && stormy.tasksAgain > 10);
    t.equal(stormy.rejected, 0);
    t.ok(stormy.meanS > calm.meanS);
  }
});

void t.test('a slow node takes longer', async (t) => {
  const trace = poisson(0.1, 20_000);
  const slow = run(fleet([pool()]), trace, 1, { ...NO_FAULTS, slowNodes: 1, slowFactor: 3 });
  t.ok(slow.p50S > 2.9 && slow.p50S < 5, `${slow.p50S} s`);
});

void t.test('while the control store is away nothing is scaled, and what is there serves on', async (t) => {
  const trace = poisson(0.5, 10_000);
  const spec = fleet([pool({ policy: policy() })]);
  const away = run(spec, trace, 1, { ...NO_FAULTS, storeOutagesPerHour: 3000, storeOutageS: 20_000 });
  t.ok(away.actions <= 1, `${away.actions} actions`);
  t.ok(run(spec, trace).actions > 1);
  t.equal(away.rejected, 0);
});

void t.test('what goes on to the next stage takes its time on the way', async (t) => {
  const spec = fleet([pool(), pool()]);
  const hops = spec.routes.map((route) => route.map((step) => ({ ...step, transferS: 7 })));
  const trace = traceOf([[0, 'a']], 100);
  t.equal(run(spec, trace).meanS, 2);
  t.equal(run({ ...spec, routes: hops }, trace).meanS, 9, 'nothing is sent after the last stage');
});

void t.test('a request that needs an adapter waits for it', async (t) => {
  const builder = new TraceBuilder('adapters');
  builder.add({ arrivalS: 0, model: 'a', hasAdapter: true }, 'row 1');
  const result = run(fleet([pool({ adapterS: 4 })]), builder.done(10));
  t.equal(result.meanS, 5);
  t.equal(result.adapterLoads, 1);
});
