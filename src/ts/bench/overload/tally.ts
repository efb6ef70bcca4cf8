// From single requests to figures.
//
// Invariant: a request is counted in the window in which it was due, however it ended; all its times run from the
// moment at which it was due, not from the moment at which the generator came to send it (no coordinated omission).
import { percentile, spreadOf } from '../kit/statistics.js';
import type { End } from './subject.js';

/** What became of one request. Times are behind the begin of the load, in ms. */
export interface CallRecord {
  dueMs: number;
  sentMs: number;
  endedMs: number;
  end: End;
  tenant: string | undefined;
  /** It was sent because of another request that had ended. */
  isAgain: boolean;
  retryAfterMs: number | undefined;
  retryToken: string | undefined;
  predictedMs: number | undefined;
  words: string | undefined;
}

/** Requests that were due within a window. */
export interface Tally {
  offered: number;
  /** Within the deadline. */
  inTime: number;
  refused: number;
  /** Neither refused nor answered within the deadline. */
  late: number;
  /** Part of `late`: what failed for another reason. */
  failed: number;
  /** `late` of all that were not refused; 0 without any. */
  lateShare: number;
  /** null without refusals. */
  rejectMs: { p50: number; p99: number } | null;
  /** Of requests in time; null without any. */
  latencyMs: { p50: number; p99: number } | null;
  /** How late the generator was, p99. */
  lagMs: number;
  /** Median of |predicted - real| / real over the answered; null without predictions. */
  predictionError: number | null;
  /** The first of `failed` that says why. */
  firstFailure: string | null;
}

const sorted = (values: number[]) => Float64Array.from(values).sort();

/**
 * The figures of a window.
 *
 * @param records in any order
 * @param deadlineMs behind the moment at which a request was due
 * @param fromMs the first moment of the window
 * @param toMs the first moment behind it
 */
export function tally(records: Iterable<CallRecord>, deadlineMs: number, fromMs: number, toMs: number): Tally {
  let [offered, inTime, refused, failed] = [0, 0, 0, 0];
  let firstFailure: string | null = null;
  const rejectMs: number[] = [];
  const latencyMs: number[] = [];
  const lagMs: number[] = [];
  const errors: number[] = [];
  for (const { dueMs, sentMs, endedMs, end, predictedMs, words } of records) {
    if (dueMs < fromMs || dueMs >= toMs) continue;
    offered++;
    lagMs.push(sentMs - dueMs);
    const tookMs = endedMs - dueMs;
    if (end === 'refused') {
      refused++;
      rejectMs.push(tookMs);
    } else if (end === 'failed') {
      failed++;
      firstFailure ??= words ?? null;
    } else if (end === 'answered' && tookMs <= deadlineMs) {
      inTime++;
      latencyMs.push(tookMs);
    }
    if (end === 'answered' && predictedMs !== undefined) {
      const realMs = endedMs - sentMs;
      errors.push(Math.abs(predictedMs - realMs) / realMs);
    }
  }
  const taken = offered - refused;
  return {
    offered,
    inTime,
    refused,
    late: taken - inTime,
    failed,
    lateShare: taken === 0 ? 0 : round4((taken - inTime) / taken),
    rejectMs: spreadOf(rejectMs),
    latencyMs: spreadOf(latencyMs),
    lagMs: spreadOf(lagMs)?.p99 ?? 0,
    predictionError: errors.length === 0 ? null : round4(percentile(sorted(errors), 0.5)),
    firstFailure,
  };
}

/** A share with four decimals. */
export function round4(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}
