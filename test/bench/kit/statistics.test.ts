// Proves: the figures of the tables are what their names say.
import t from 'tap';
import {
  jainIndex,
  median,
  peakPerMs,
  percentile,
  summarizeBandwidth,
  summarizeLatency,
} from '../../../src/ts/bench/kit/statistics.js';

void t.test('percentiles are nearest rank', async (t) => {
  t.equal(percentile([1, 2, 3, 4], 0.5), 2);
  t.equal(percentile([1, 2, 3, 4], 0.99), 4);
  t.equal(percentile([7], 0.001), 7);
  t.ok(Number.isNaN(percentile([], 0.5)));
});

void t.test('fairness is 1 when all get the same and 1/n when one gets everything', async (t) => {
  t.equal(jainIndex([5, 5, 5, 5]), 1);
  t.equal(jainIndex([8, 0, 0, 0]), 0.25);
  t.equal(jainIndex([1, 3]), 0.8);
  t.ok(Number.isNaN(jainIndex([0, 0])));
});

void t.test('latency is summed up over all samples', async (t) => {
  const samples = Float64Array.from({ length: 1000 }, (_, i) => i + 1);
  const summary = summarizeLatency(samples);
  t.match(summary, { min: 1, max: 1000, p50: 500, avg: 500.5, p99: 990, p999: 999 });
  t.equal(summary.stdev, 288.675);
  t.match(summarizeLatency(Float64Array.of(7)), { min: 7, max: 7, p50: 7, avg: 7, stdev: 0, p99: 7, p999: 7 });
});

void t.test('the median of rounds is one of them, in whatever order they come', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 3, 2]), 2);
  t.ok(Number.isNaN(median([])));
});

void t.test('the peak is the best stretch, and messages without a completion end none', async (t) => {
  // Four messages: a slow one, then two that complete together, then one whose completion was not asked for.
  const posted = Float64Array.of(0, 10, 10, 12);
  const completed = Float64Array.of(10, 0, 11, 0);
  t.equal(peakPerMs(posted, completed), 2);
  t.equal(peakPerMs(new Float64Array(0), new Float64Array(0)), null);
});

void t.test('bandwidth counts in MB of 2^20 bytes, and adds what the peer sent', async (t) => {
  const none = { posted: new Float64Array(0), completed: new Float64Array(0) };
  const one = summarizeBandwidth(2 ** 20, [{ messages: 100, tookMs: 1000, peerTookMs: 0 }], none);
  t.strictSame(one, { peakMbPerSecond: null, averageMbPerSecond: 100, messagesPerSecond: 100, bytes: 100 * 2 ** 20 });
  const both = summarizeBandwidth(2 ** 20, [{ messages: 100, tookMs: 1000, peerTookMs: 500 }], none);
  t.match(both, { averageMbPerSecond: 300, messagesPerSecond: 300, bytes: 200 * 2 ** 20 });
});
