// Proves: every time has one bucket, buckets follow one another without a gap, a bucket is at most an eighth as wide as
// its times are long, and status() says the counts in plain numbers.
import fc from 'fast-check';
import t from 'tap';
import {
  HopLatencies,
  LATENCY_BUCKETS,
  Latency,
  latencyBucket,
  latencyBucketStartUs,
} from '../../src/ts/pipeline/latency.js';

void t.test('the bucket of a time begins at or before it and ends behind it', async (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.double({ min: 0, max: 2 ** 32 - 1, noNaN: true }), fc.nat(100)), (us) => {
      const bucket = latencyBucket(us);
      return latencyBucketStartUs(bucket) <= us && us < latencyBucketStartUs(bucket + 1);
    }),
  );
  for (let i = 16; i < LATENCY_BUCKETS; i++) {
    const start = latencyBucketStartUs(i);
    if (latencyBucketStartUs(i + 1) - start > start / 8) t.fail(`bucket ${i} is too wide`);
  }
  t.equal(latencyBucketStartUs(LATENCY_BUCKETS), 2 ** 32);
  t.equal(latencyBucket(1e300), LATENCY_BUCKETS - 1, 'what is longer than an hour is in the last');
  t.equal(latencyBucket(Number.POSITIVE_INFINITY), LATENCY_BUCKETS - 1);
});

void t.test('counts add up; what is no time is left out', async (t) => {
  const latency = new Latency();
  for (const us of [0, 3.7, 3, 1000, -1, Number.NaN]) latency.add(us);
  t.strictSame(latency.status(), { count: 4, sumUs: 1006.7, buckets: [0, 1, 3, 2, latencyBucket(1000), 1] });
});

void t.test('hops are counted by the stage that they came from', async (t) => {
  const hops = new HopLatencies();
  hops.add(-1, 5);
  hops.add(1, 7);
  hops.add(1, 7);
  hops.add(0, -1);
  const status = hops.status((stage) => ['request', 'a', 'b'][stage + 1]!);
  t.strictSame(Object.keys(status), ['request', 'b']);
  t.equal(status.b?.count, 2);
});
