// Proves that the simulator agrees with queues whose figures are known: M/M/c, M/D/1 and M/G/1 with processor sharing.
import t from 'tap';
import { md1MeanWaitMs, mg1PsMeanMs, mmcMeanWaitMs, mmcWaitsLonger } from '../../../src/ts/planner/queueing.js';
import { quantileOf } from '../../../src/ts/planner/fleet/result.js';
import { simulate } from '../../../src/ts/planner/fleet/simulation.js';
import { exponentialUnits, fleet, poisson, pool, run } from './workloads.js';

const SECONDS = 50_000;
const near = (a: number, b: number, part: number) => Math.abs(a - b) <= part * b;

void t.test('M/M/c: mean time and the part that waits long', async (t) => {
  for (const [servers, rate] of [
    [1, 0.7],
    [3, 2.4],
    [20, 18],
  ] as const) {
    const trace = poisson(rate, SECONDS, { units: exponentialUnits });
    const { meanS } = run(fleet([pool({ fixed: servers })]), trace);
    const expected = 1 + mmcMeanWaitMs(servers, rate / 1000, 1000) / 1000;
    t.ok(near(meanS, expected, 0.05), `${servers} servers: ${meanS} s, expected ${expected} s`);
  }
});

void t.test('M/M/c: the distribution of waits, not only its mean', async (t) => {
  const [servers, rate] = [3, 2.4];
  const trace = poisson(rate, 2 * SECONDS, { units: exponentialUnits });
  for (const waitS of [0.5, 1, 2, 4]) {
    // In time is who is done within its own service and this wait.
    const bareS = Float64Array.from(trace.units, (units) => units + waitS);
    const { inTime } = simulate({
      fleet: fleet([pool({ fixed: servers })]),
      trace,
      bareS,
      sloFactor: 1,
      quantile: 0.5,
    });
    const longer = mmcWaitsLonger(servers, rate / 1000, 1000, waitS * 1000);
    t.ok(Math.abs(1 - inTime - longer) < 0.01, `${1 - inTime} wait longer than ${waitS} s, expected ${longer}`);
  }
});

void t.test('M/M/c: with servers enough nobody waits', async (t) => {
  const trace = poisson(2.4, SECONDS, { units: exponentialUnits });
  const { inTime } = run(fleet([pool({ fixed: 3 })]), trace);
  t.ok(inTime > 0.5 && inTime < 1);
  const fast = run(fleet([pool({ fixed: 60 })]), trace);
  t.ok(near(fast.meanS, 1, 0.02));
  t.ok(mmcWaitsLonger(60, 0.0024, 1000, 0) < 1e-9);
});

void t.test('M/D/1: half of the wait of M/M/1', async (t) => {
  for (const rate of [0.3, 0.7, 0.85]) {
    const { meanS, p50S } = run(fleet([pool()]), poisson(rate, 2 * SECONDS));
    const expected = 1 + md1MeanWaitMs(rate / 1000, 1000) / 1000;
    t.ok(near(meanS, expected, 0.05), `load ${rate}: ${meanS} s, expected ${expected} s`);
    t.ok(p50S >= 1);
  }
});

void t.test('M/G/1-PS: the mean depends on the mean service alone', async (t) => {
  const services: [string, (u: number) => number][] = [
    ['all equal', () => 1],
    ['exponential', exponentialUnits],
    ['one in twenty is long', (u) => (u < 0.05 ? 10.5 : 0.5)],
  ];
  for (const [what, units] of services) {
    const trace = poisson(0.6, 2 * SECONDS, { units });
    const mean = trace.units.reduce((a, b) => a + b, 0) / trace.units.length;
    const { meanS } = run(fleet([pool({ slots: 1_000_000 })]), trace);
    const expected = mg1PsMeanMs(trace.units.length / trace.lengthS / 1000, mean * 1000) / 1000;
    t.ok(near(meanS, expected, 0.06), `${what}: ${meanS} s, expected ${expected} s`);
  }
});

void t.test('a batch that is done as fast as one task makes the server so much faster', async (t) => {
  const trace = poisson(3, 20_000);
  const alone = run(fleet([pool({ fixed: 4 })]), trace);
  const together = run(fleet([pool({ slots: 4, gain: (n) => n })]), trace);
  t.ok(near(together.meanS, alone.meanS, 0.05), `${together.meanS} s, four servers ${alone.meanS} s`);
  t.ok(together.gpusMean === 1 && alone.gpusMean === 4);
});

void t.test('Little: work that is held is arrivals times service', async (t) => {
  const trace = poisson(5, 50_000, { units: exponentialUnits });
  const { busyGpuHours } = run(fleet([pool({ fixed: 10 })]), trace);
  const workS = trace.units.reduce((a, b) => a + b, 0);
  t.ok(near(busyGpuHours * 3600, workS, 1e-9));
});

void t.test('a quantile is one of the values', async (t) => {
  const values = Float64Array.from({ length: 100 }, (_, i) => i + 1);
  t.same(
    [0.5, 0.95, 0.99, 1].map((q) => quantileOf(values, q)),
    [50, 95, 99, 100],
  );
  t.ok(Number.isNaN(quantileOf(new Float64Array(0), 0.5)));
});
