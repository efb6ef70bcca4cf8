// What a metric is, as Prometheus knows it: name, kind, labels and values.
//
// Invariant: pure. Bounds of histograms are ends of our own buckets, so every count is exact.
import { latencyBucketStartUs, type LatencyStatus } from '../pipeline/index.js';
import { countUpTo } from './percentiles.js';

/** One value of a metric; `suffix` is that of a histogram's `_bucket`, `_sum` and `_count`. */
export interface MetricValue {
  readonly suffix: '' | '_bucket' | '_sum' | '_count';
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A metric and its values. */
export interface MetricFamily {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  readonly values: readonly MetricValue[];
}

/** A metric, and how it is read from what was seen. */
export interface Metric<Input> extends Omit<MetricFamily, 'values'> {
  readonly read: (input: Input) => MetricValue[];
}

/** Reads metrics, in their order. */
export function readMetrics<Input>(metrics: readonly Metric<Input>[], input: Input): MetricFamily[] {
  return metrics.map(({ name, type, help, labels, read }) => ({ name, type, help, labels, values: read(input) }));
}

/** From 64 us to 268 s, each 4 times the one before: powers of two are ends of buckets. */
const BOUNDS_US = Array.from({ length: 12 }, (_, i) => 4 ** (i + 3));

/** A value without a suffix. */
export const one = (value: number, labels: Record<string, string> = {}): MetricValue => ({ suffix: '', labels, value });

/** The values of a histogram of times, in seconds. */
export function histogram(latency: LatencyStatus, labels: Record<string, string>): MetricValue[] {
  const values: MetricValue[] = BOUNDS_US.map((us) => {
    const le = String(us / 1e6);
    return { suffix: '_bucket', labels: { ...labels, le }, value: countUpTo(latency, us) };
  });
  values.push({ suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: latency.count });
  values.push({ suffix: '_sum', labels, value: latency.sumUs / 1e6 });
  values.push({ suffix: '_count', labels, value: latency.count });
  return values;
}

/** Bounds of histograms in microseconds; for tests: each is the end of a bucket. @internal */
export function histogramBoundsUs(): readonly number[] {
  return BOUNDS_US;
}

/** Whether a bound is the end of a bucket. @internal */
export function isBucketEnd(us: number): boolean {
  for (let i = 0; latencyBucketStartUs(i) <= us; i++) if (latencyBucketStartUs(i) === us) return true;
  return false;
}
