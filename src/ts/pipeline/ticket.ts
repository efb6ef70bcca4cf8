// A request between run() and its end, as its gateway keeps it.
//
// Invariant: it ends once. It has a number from its first dispatch on, and keeps it; each dispatch is an attempt.
import type { RdmaError } from '../core/errors.js';
import type { AdmittedRequest } from './admission.js';
import type { Newcomer } from './door.js';
import type { Expectation } from './forecaster.js';
import type { TaskEvent } from './gateway-options.js';
import type { Outgoing } from './transmitter.js';
import type { RequestProgress } from './progress.js';
import type { CheckedOptions, PipelineResult, ProgressEvent } from './request.js';
import type { Queued } from './request-queue.js';
import type { Spread } from './spec.js';
import type { PieceTeller } from './stream-caller.js';

export class Ticket implements Queued {
  readonly tenant: string;
  readonly priority: number;
  readonly deadlineUs: number;
  readonly costClass: number;
  readonly units: number;
  readonly bytes: number;
  readonly queuedAtUs: number;
  chargeUs = 1;
  order = 0;
  /** 0: it was never sent. */
  number = 0;
  attempt = 0;
  /** While it is in its places. */
  admitted: AdmittedRequest | undefined = undefined;
  readonly outgoing: Outgoing;
  /** When its end was expected as it came; undefined: nobody asked. */
  readonly expectation: Expectation | undefined;
  readonly views: boolean;
  readonly traced: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((event: ProgressEvent) => void) | undefined;
  readonly onTask: ((event: TaskEvent) => void) | undefined;
  pieces: PieceTeller | undefined = undefined;
  spreads: readonly Spread[] | undefined = undefined;
  /** How often its task has failed in a way that lets it be tried again. */
  tries = 0;
  /** Of a watched request, once its first task has begun. */
  progress: RequestProgress | undefined = undefined;
  over = false;
  /** Take back what waits for its deadline and its signal. */
  stopTimer: (() => void) | undefined = undefined;
  stopListening: (() => void) | undefined = undefined;
  private readonly onResult: (result: PipelineResult) => void;
  private readonly onError: (error: RdmaError) => void;

  constructor(
    newcomer: Newcomer,
    options: CheckedOptions,
    traced: boolean,
    outgoing: Outgoing,
    expectation: Expectation | undefined,
    nowUs: number,
    onResult: (result: PipelineResult) => void,
    onError: (error: RdmaError) => void,
  ) {
    this.tenant = newcomer.tenant;
    this.priority = newcomer.priority;
    this.deadlineUs = newcomer.deadlineUs;
    this.costClass = newcomer.costClass;
    this.units = newcomer.units;
    this.bytes = newcomer.bytes;
    this.queuedAtUs = nowUs;
    this.outgoing = outgoing;
    this.expectation = expectation;
    this.views = options.views;
    this.traced = traced;
    this.signal = options.signal;
    this.onProgress = options.onProgress;
    this.onTask = options.onTask;
    this.onResult = onResult;
    this.onError = onError;
  }

  resolve(result: PipelineResult): void {
    this.end();
    this.onResult(result);
  }

  reject(error: RdmaError): void {
    this.end();
    this.onError(error);
  }

  private end(): void {
    this.over = true;
    this.stopTimer?.();
    this.stopListening?.();
  }
}
