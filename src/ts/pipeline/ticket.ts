// A request between run() and its end, as its gateway keeps it.
//
// Invariant: it ends once. It has a number from its first dispatch on, and keeps it; each dispatch is an attempt.
import type { RdmaError } from '../core/errors.js';
import type { AdmittedRequest } from './admission.js';
import type { Expectation } from './forecaster.js';
import type { TaskEvent } from './gateway-options.js';
import type { Outgoing } from './place.js';
import type { RequestProgress } from './progress.js';
import type { PipelineResult, ProgressEvent } from './request.js';
import type { Queued } from './request-queue.js';
import type { Spread } from './spec.js';
import type { PieceTeller } from './stream-caller.js';

export interface Ticket extends Queued {
  /** 0: it was never sent. */
  number: number;
  attempt: number;
  /** While it is in its places. */
  admitted: AdmittedRequest | undefined;
  readonly outgoing: Outgoing;
  /** When its end was expected as it came; undefined: nobody asked. */
  readonly expectation: Expectation | undefined;
  readonly views: boolean;
  readonly traced: boolean;
  /** Tells its caller of pieces; undefined: nobody asks. */
  readonly pieces: PieceTeller | undefined;
  readonly signal: AbortSignal | undefined;
  /** How often its task has failed in a way that lets it be tried again. */
  tries: number;
  /** How it is spread over the instances of each stage; undefined: as the spec says. */
  readonly spreads: readonly Spread[] | undefined;
  readonly onProgress: ((event: ProgressEvent) => void) | undefined;
  readonly onTask: ((event: TaskEvent) => void) | undefined;
  /** Of a watched request, once its first task has begun. */
  progress: RequestProgress | undefined;
  over: boolean;
  readonly resolve: (result: PipelineResult) => void;
  readonly reject: (error: RdmaError) => void;
}
