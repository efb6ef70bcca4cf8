// Somebody who is overloaded, as the process that makes the requests sees it.
//
// Invariant: a call ends exactly once and never throws: how it ended is what is measured.
import type { OverloadSettings } from './settings.js';

/** `refused`: it may come again later; `deadline`: its time was over; `failed`: anything else that went wrong. */
export type End = 'answered' | 'refused' | 'deadline' | 'failed';

/** How a call ended. */
export interface Outcome {
  end: End;
  /** Of a refusal: when to come again. */
  retryAfterMs?: number | undefined;
  /** Of a refusal: what to come again with. */
  retryToken?: string | undefined;
  /** What was said when the request was taken: how long until its result, from the call. */
  predictedMs?: number | undefined;
  /** Of `failed`: its words. */
  words?: string;
}

export interface Call {
  /** How long each stage takes for it. */
  serviceMs: readonly number[];
  /** How long the caller waits from now on; undefined: as long as it takes. */
  remainingMs: number | undefined;
  tenant: string | undefined;
  /** Of the refusal after which it comes again. */
  retryToken: string | undefined;
}

export interface OverloadSubject {
  call(call: Call): Promise<Outcome>;
  close(): Promise<void>;
}

/** How a subject is opened. */
export interface SubjectContext {
  settings: OverloadSettings;
  /** Requests a second that were measured of our own pipeline; undefined while that is what is measured. */
  capacityPerSecond: number | undefined;
  /** For its sockets; removed by whoever gave it. */
  folder: string;
}
