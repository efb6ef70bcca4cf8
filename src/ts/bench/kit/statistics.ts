// Percentiles and what perftest's tables show.
//
// Invariant: the nearest-rank definition, on all samples; nothing is interpolated and nothing is left out.

/**
 * A percentile of samples that are sorted in ascending order.
 *
 * @param share 0 to 1, for example 0.99
 * @returns the smallest sample that at least `share` of all samples do not exceed; NaN without samples
 */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return Number.NaN;
  const rank = Math.max(1, Math.ceil(share * sorted.length));
  return sorted[Math.min(rank, sorted.length) - 1]!;
}

/** A number with at most three decimals. */
export function round3(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** The middle of some numbers in any order; of an even count the lower of the two. NaN without numbers. */
export function median(values: readonly number[]): number {
  return percentile(Float64Array.from(values).sort(), 0.5);
}

/** The middle and the tail of samples, with at most three decimals. */
export interface Percentiles {
  p50: number;
  p99: number;
  p999: number;
}

/** @param sorted at least one sample, in ascending order */
export function percentilesOf(sorted: ArrayLike<number>): Percentiles {
  const at = (share: number) => round3(percentile(sorted, share));
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999) };
}

/** The middle and the 99th percentile of values in any order; null without any. */
export function spreadOf(values: readonly number[]): { p50: number; p99: number } | null {
  if (values.length === 0) return null;
  const { p50, p99 } = percentilesOf(Float64Array.from(values).sort());
  return { p50, p99 };
}

/** Latency in microseconds, rounded to nanoseconds. */
export interface LatencySummary extends Percentiles {
  min: number;
  max: number;
  avg: number;
  /** Standard deviation of the samples themselves, not of a population behind them. */
  stdev: number;
}

/** @param sortedUs at least one sample in microseconds, in ascending order */
export function summarizeLatency(sortedUs: Float64Array): LatencySummary {
  const count = sortedUs.length;
  let sum = 0;
  for (let i = 0; i < count; i++) sum += sortedUs[i]!;
  const avg = sum / count;
  let squares = 0;
  for (let i = 0; i < count; i++) squares += (sortedUs[i]! - avg) ** 2;
  return {
    min: round3(percentile(sortedUs, 0)),
    max: round3(percentile(sortedUs, 1)),
    ...percentilesOf(sortedUs),
    avg: round3(avg),
    stdev: round3(Math.sqrt(squares / count)),
  };
}

/** Bandwidth as perftest counts it: MB is 2^20 bytes. In both directions together when both sides send. */
export interface BandwidthSummary {
  /** The best stretch of messages, of this side; null when it was not looked for. */
  peakMbPerSecond: number | null;
  averageMbPerSecond: number;
  messagesPerSecond: number;
  /** All that was moved while measuring. */
  bytes: number;
}

const MB = 2 ** 20;

/**
 * @param parts the messages of this side, how long they took here, and how long the peer's took there (0: it sent none)
 * @param times when each message was posted and completed, in milliseconds; empty: the peak is not looked for
 */
export function summarizeBandwidth(
  sizeBytes: number,
  parts: readonly { messages: number; tookMs: number; peerTookMs: number }[],
  times: { posted: Float64Array; completed: Float64Array },
): BandwidthSummary {
  const messages = parts.reduce((sum, part) => sum + part.messages, 0);
  const rate = (ms: number) => (ms > 0 ? (messages / ms) * 1000 : 0);
  const peerMs = parts.reduce((sum, part) => sum + part.peerTookMs, 0);
  const perSecond = rate(parts.reduce((sum, part) => sum + part.tookMs, 0)) + rate(peerMs);
  const peak = peakPerMs(times.posted, times.completed);
  return {
    peakMbPerSecond: peak === null ? null : round3((peak * 1000 * sizeBytes) / MB),
    averageMbPerSecond: round3((perSecond * sizeBytes) / MB),
    messagesPerSecond: Math.round(perSecond),
    bytes: messages * sizeBytes * (peerMs > 0 ? 2 : 1),
  };
}

/**
 * The most messages in a millisecond over any stretch of them, from the post of its first to the completion of its
 * last: perftest's peak. A message whose completion was not asked for (0) ends no stretch.
 *
 * @returns null without messages
 */
export function peakPerMs(posted: Float64Array, completed: Float64Array): number | null {
  let best = 0;
  for (let i = 0; i < posted.length; i++) {
    for (let j = i; j < completed.length; j++) {
      const took = completed[j]! - posted[i]!;
      if (took > 0 && (j - i + 1) / took > best) best = (j - i + 1) / took;
    }
  }
  return best > 0 ? best : null;
}

/**
 * Jain's fairness index of what several got: 1 when all got the same, 1/n when one of n got everything.
 *
 * @see Jain, Chiu, Hawe: A Quantitative Measure of Fairness and Discrimination (DEC-TR-301, 1984)
 * @returns NaN without shares, or when nobody got anything
 */
export function jainIndex(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  const squares = shares.reduce((total, share) => total + share * share, 0);
  return (sum * sum) / (shares.length * squares);
}
