// Proves: percentiles are right to the width of a bucket, differences are those of the counts, and a count that began
// again is all new.
import fc from 'fast-check';
import t from 'tap';
import {
  addLatencies,
  countUpTo,
  latencySince,
  NO_LATENCY,
  percentilesOf,
  percentileUs,
} from '../../src/ts/observe/percentiles.js';
import { latencyOf } from './support.js';

const times = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 200 });

void t.test('a percentile is within an eighth of the exact one', async (t) => {
  fc.assert(
    fc.property(times, fc.constantFrom(0.5, 0.95, 0.99, 1), (list, share) => {
      const sorted = [...list].sort((a, b) => a - b);
      const exact = sorted[Math.max(0, Math.ceil(share * list.length) - 1)]!;
      const found = percentileUs(latencyOf(...list), share);
      return Math.abs(found - exact) <= Math.max(1, exact / 8);
    }),
  );
  t.ok(Number.isNaN(percentileUs(NO_LATENCY, 0.5)));
});

void t.test('what was counted since is the difference; sums are sums', async (t) => {
  fc.assert(
    fc.property(times, times, (first, second) => {
      const before = latencyOf(...first);
      const all = latencyOf(...first, ...second);
      const since = latencySince(all, before);
      const expected = latencyOf(...second);
      const sum = addLatencies([before, expected]);
      return (
        JSON.stringify([since.count, since.buckets]) === JSON.stringify([expected.count, expected.buckets]) &&
        JSON.stringify([sum.count, sum.buckets]) === JSON.stringify([all.count, all.buckets])
      );
    }),
  );
  const again = latencyOf(5);
  t.equal(latencySince(again, latencyOf(1, 2, 3)), again, 'it began again');
  t.equal(latencySince(again, again).count, 0);
  t.equal(addLatencies([]).count, 0);
});

void t.test('recent ones where there are some, all ones otherwise', async (t) => {
  const before = latencyOf(100, 100);
  t.match(percentilesOf(latencyOf(100, 100, 4000), before), { count: 1, meanUs: 4000, recent: true });
  t.match(percentilesOf(before, before), { count: 2, meanUs: 100, recent: false });
  t.match(percentilesOf(before, undefined), { count: 2, recent: false });
  t.equal(percentilesOf(NO_LATENCY, undefined), undefined);
});

void t.test('counts up to the end of a bucket are exact', async (t) => {
  const latency = latencyOf(63, 64, 255, 256);
  t.strictSame(
    [64, 256, 1024].map((us) => countUpTo(latency, us)),
    [1, 3, 4],
  );
});
