// What single measurements answer, as they travel from the process that measures.
//
// Invariant: plain data; a figure that was not measured is null.
import type { Tally } from './tally.js';

export interface LoadMeasured {
  tally: Tally;
  offeredPerSecond: number;
}

/** Clients that came again after `retryAfterMs`. */
export interface RetryMeasured {
  /** Clients that were refused the first time. */
  refused: number;
  /** Of these, those whose refusal said when to come again. */
  told: number;
  /** Of these, those that were not refused again. */
  admitted: number;
  /** Of these, those that were answered in time. */
  inTime: number;
  retryAfterMs: { p50: number; p99: number } | null;
}

export interface CancelMeasured {
  rounds: number;
  /** Rounds in which places were still not free after the limit. */
  stuck: number;
  limitMs: number;
  /** Over the rounds that were not stuck; null without any. */
  freeMs: { p50: number; p99: number } | null;
}

export interface HungMeasured {
  instances: number;
  /** Answers in time, in a second: before one instance stopped, and from a second later on. */
  beforePerSecond: number;
  afterPerSecond: number;
}

export interface BatchMeasured {
  /** Tasks of a batch. */
  size: number;
  singlePerSecond: number;
  batchedPerSecond: number;
}

export interface TenantsMeasured {
  /** The steady tenant alone, and beside the other one. */
  alone: Tally;
  beside: Tally;
  flood: Tally;
}
