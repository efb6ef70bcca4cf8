// Percentiles of counted latencies, and sums and differences of what was counted.
//
// Invariant: pure. What grew between two counts is never negative: a count that became smaller is that of a new
// process, and all of it is new.
import { LATENCY_BUCKETS, type LatencyStatus, latencyBucketStartUs } from '../pipeline/index.js';

/** What people want to know of many times, in microseconds. */
export interface Percentiles {
  readonly count: number;
  readonly meanUs: number;
  readonly p50Us: number;
  readonly p95Us: number;
  readonly p99Us: number;
  /** True: of the last minute. False: nothing ended in the last minute, and these are of the time since the start. */
  readonly recent: boolean;
}

export const NO_LATENCY: LatencyStatus = { count: 0, sumUs: 0, buckets: [] };

/** The sum of several. */
export function addLatencies(list: readonly LatencyStatus[]): LatencyStatus {
  if (list.length === 1) return list[0]!;
  return gather(list, 1);
}

/** What was counted since an earlier state of the same. */
export function latencySince(now: LatencyStatus, before: LatencyStatus | undefined): LatencyStatus {
  if (before === undefined || before.count === 0 || before.count > now.count) return now;
  if (before.count === now.count) return NO_LATENCY;
  return gather([now, before], -1);
}

// The first, and all others times `sign`.
function gather(list: readonly LatencyStatus[], sign: number): LatencyStatus {
  const counts = new Float64Array(LATENCY_BUCKETS);
  let sumUs = 0;
  for (const [n, { buckets, sumUs: sum }] of list.entries()) {
    const factor = n === 0 ? 1 : sign;
    sumUs += factor * sum;
    for (let i = 0; i < buckets.length; i += 2) counts[buckets[i]!] = counts[buckets[i]!]! + factor * buckets[i + 1]!;
  }
  const buckets: number[] = [];
  let count = 0;
  for (let i = 0; i < LATENCY_BUCKETS; i++) {
    if (counts[i]! <= 0) continue;
    count += counts[i]!;
    buckets.push(i, counts[i]!);
  }
  return { count, sumUs: Math.max(0, sumUs), buckets };
}

/**
 * The time that a share of all is not longer than, in microseconds; within a bucket times count as spread evenly.
 *
 * @param share 0 to 1
 * @returns NaN when there are none
 */
export function percentileUs({ count, buckets }: LatencyStatus, share: number): number {
  if (count === 0) return Number.NaN;
  const wanted = Math.max(1, share * count);
  let seen = 0;
  for (let i = 0; i < buckets.length; i += 2) {
    const here = buckets[i + 1]!;
    if (seen + here >= wanted) {
      const start = latencyBucketStartUs(buckets[i]!);
      const end = latencyBucketStartUs(buckets[i]! + 1);
      return start + (end - start) * ((wanted - seen) / here);
    }
    seen += here;
  }
  return latencyBucketStartUs(LATENCY_BUCKETS);
}

/** How many were not longer than a time at which a bucket ends. */
export function countUpTo({ buckets }: LatencyStatus, us: number): number {
  let count = 0;
  for (let i = 0; i < buckets.length && latencyBucketStartUs(buckets[i]! + 1) <= us; i += 2) count += buckets[i + 1]!;
  return count;
}

/**
 * Percentiles of what was counted since `before`, or of everything when nothing was.
 *
 * @returns undefined when nothing was counted ever
 */
export function percentilesOf(now: LatencyStatus, before: LatencyStatus | undefined): Percentiles | undefined {
  if (now.count === 0) return undefined;
  const since = before === undefined ? NO_LATENCY : latencySince(now, before);
  const recent = since.count > 0;
  const latency = recent ? since : now;
  return {
    count: latency.count,
    meanUs: latency.sumUs / latency.count,
    p50Us: percentileUs(latency, 0.5),
    p95Us: percentileUs(latency, 0.95),
    p99Us: percentileUs(latency, 0.99),
    recent,
  };
}

/** Percentiles of the last minute, or of everything when nothing is known of it or nothing was counted in it. */
export function recentOr(recent: LatencyStatus, all: LatencyStatus, known: boolean): Percentiles | undefined {
  if (known && recent.count > 0) return { ...percentilesOf(recent, undefined)!, recent: true };
  return percentilesOf(all, undefined);
}
