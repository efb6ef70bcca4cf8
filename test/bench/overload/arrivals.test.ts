// Proves: arrivals are a Poisson process that a seed repeats, and streams of them keep their order together.
import t from 'tap';
import { type Arrival, merged, poisson, serviceTimes } from '../../../src/ts/bench/overload/arrivals.js';

const times = (seed: number, perSecond = 100, fromMs = 0, toMs = 60_000) =>
  [...poisson(perSecond, fromMs, toMs, [seed])].map(({ atMs }) => atMs);

void t.test('a seed repeats its arrivals, and another one has others', async (t) => {
  t.strictSame(times(1), times(1));
  t.not(times(1)[0], times(2)[0]);
});

void t.test('as many come as are wanted, within the time, and their gaps are exponential', async (t) => {
  const all = times(7, 200, 5000, 105_000);
  // 20 000 are expected, with a standard deviation of 141.
  t.ok(Math.abs(all.length - 20_000) < 800, `${all.length} arrivals`);
  t.ok(all[0]! > 5000 && all.at(-1)! < 105_000);
  const gaps = all.slice(1).map((atMs, i) => atMs - all[i]!);
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
  t.ok(Math.abs(mean - 5) < 0.25, `mean ${mean}`);
  t.ok(Math.abs(Math.sqrt(variance) / mean - 1) < 0.05, 'the deviation is the mean');
  t.ok(gaps.every((gap) => gap >= 0));
});

void t.test('streams are merged in order, with whose each one is', async (t) => {
  const of = (tenant: string, ...at: number[]): Arrival[] => at.map((atMs) => ({ atMs, tenant }));
  const a = of('a', 1, 4, 5);
  const b = of('b', 2, 3, 9);
  const all = [...merged(a.values(), b.values(), [].values())];
  t.strictSame(
    all.map(({ atMs, tenant }) => `${tenant}${atMs}`),
    ['a1', 'b2', 'b3', 'a4', 'a5', 'b9'],
  );
  t.strictSame([...merged()], []);
});

void t.test('tasks take 75 to 125 % of the mean, the same for everybody', async (t) => {
  t.strictSame(serviceTimes(3, 17, 40), serviceTimes(3, 17, 40));
  const all = Array.from({ length: 2000 }, (_, n) => serviceTimes(3, n, 40)).flat();
  t.equal(all.length, 6000);
  t.ok(all.every((ms) => Number.isInteger(ms) && ms >= 30 && ms <= 50));
  const mean = all.reduce((sum, ms) => sum + ms, 0) / all.length;
  t.ok(Math.abs(mean - 40) < 0.5, `mean ${mean}`);
  t.ok(serviceTimes(3, 0, 1).every((ms) => ms >= 1));
});
