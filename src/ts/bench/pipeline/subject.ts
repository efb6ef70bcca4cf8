// A pipeline that is measured, as the process that makes its requests sees it.
//
// Invariant: results come in the order of their requests, or each with its own promise; a request's bytes stay as
// they are until its result is there.
import type { Memory } from '../kit/processes.js';

export interface Answer {
  /** The result, in order: whole, or in pieces. */
  bytes: Uint8Array | readonly Uint8Array[];
  /** The bytes may be overwritten from now on. */
  release(): void;
}

export interface Subject {
  request(bytes: Uint8Array): Promise<Answer>;
  /** Why it will never answer again. */
  readonly failed: Error | undefined;
  close(): Promise<void>;
}

/** What was measured of a subject, in whichever language. */
export interface Measured extends Memory {
  /** Whole requests in microseconds, in any order; none of a pipeline without requests. */
  samplesUs: Float64Array;
  /** Requests that were answered while it was measured. */
  requests: number;
  seconds: number;
  /** Processor time of all processes in that time. */
  cpuUs: number;
}
