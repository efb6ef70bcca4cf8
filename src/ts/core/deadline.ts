// How long a caller waits: until a time-out, or until its signal is aborted.
//
// Invariant: a wait ends once, and whatever ends it, its timer and its listener are gone afterwards. Time comes from
// the timers that the caller names, so the same code runs under a simulated clock.

// Not the global of this name, which is looked up, and asks who it is, at each use.
import { performance } from 'node:perf_hooks';
import { onAbort } from './abort.js';
import { RdmaError, type ErrorCode } from './errors.js';
import { checkAbortSignal, checkInteger } from './validate.js';

/** The longest time-out of Node.js timers, in ms. */
export const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Where time comes from. */
export interface Timers {
  /** Milliseconds since some moment, as performance.now(). */
  now(): number;
  /** Calls once, in `ms`; what it answers takes that back. In the `background`: it does not keep the process alive. */
  after(ms: number, call: () => void, background?: boolean): () => void;
}

/** The timers of Node.js. */
export const realTimers: Timers = {
  now: () => performance.now(),
  after: (ms, call, background = false) => {
    const timer = setTimeout(call, ms);
    if (background) timer.unref();
    return () => clearTimeout(timer);
  },
};

/** How long to wait; without either, for ever. */
export interface WaitLimits {
  /** 1 to 2^31 - 1. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** What the error says; or the error itself, made when it is needed. */
type Words = string | (() => string | RdmaError);

/** A wait with its limits. */
export interface Wait extends WaitLimits {
  /** For RDMA_ERR_TIMEOUT, such as "nobody came within 5000 ms". */
  late: Words;
  /** For RDMA_ERR_ABORTED; default: "the call was aborted". */
  aborted?: Words;
  /** Default: {@link realTimers}. */
  timers?: Timers;
}

const nothing = () => {};

function errorOf(code: ErrorCode, words: Words, details: { cause?: unknown }): RdmaError {
  const said = typeof words === 'string' ? words : words();
  return said instanceof RdmaError ? said : new RdmaError(code, said, details);
}

/**
 * Makes the error of a call whose signal was aborted.
 *
 * @returns an RdmaError with code RDMA_ERR_ABORTED, whose cause is the signal's reason; it is returned, not thrown
 */
export function abortError(signal: AbortSignal | undefined, words: Words = 'the call was aborted'): RdmaError {
  return errorOf('RDMA_ERR_ABORTED', words, { cause: signal?.reason });
}

/**
 * Watches over a wait that the caller runs itself.
 *
 * @param give called once, when the time is over or the signal is aborted, with the error; never before this returns
 * @returns ends the watch: `give` is not called after it. May be called at any time, and more than once
 * @throws RdmaError RDMA_ERR_ABORTED for a signal that is aborted already; RDMA_ERR_INVALID_ARGUMENT
 */
export function watchDeadline(wait: Wait, give: (error: RdmaError) => void): () => void {
  const { timeoutMs, late, aborted, timers = realTimers } = wait;
  if (timeoutMs !== undefined) checkInteger('timeoutMs', timeoutMs, 1, MAX_TIMEOUT_MS);
  const signal = checkAbortSignal('signal', wait.signal);
  if (signal?.aborted) throw abortError(signal, aborted);
  if (timeoutMs === undefined && signal === undefined) return nothing;
  let over = false;
  let cancelTimer = nothing;
  let stopListening = nothing;
  const end = (): void => {
    over = true;
    cancelTimer();
    stopListening();
  };
  const abort = (): void => {
    if (over) return;
    end();
    give(abortError(signal, aborted));
  };
  const onLate = (): void => {
    if (over) return;
    end();
    give(errorOf('RDMA_ERR_TIMEOUT', late, {}));
  };
  if (timeoutMs !== undefined) cancelTimer = timers.after(timeoutMs, onLate);
  if (signal !== undefined) stopListening = onAbort(signal, abort);
  return end;
}

/**
 * Waits for a promise within limits. The work behind it goes on when the wait has ended before; `abandon` may end it.
 *
 * @param abandon called when the wait ends without the promise
 * @returns what the promise resolves to
 * @throws what the promise rejects with; RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED, RDMA_ERR_INVALID_ARGUMENT
 */
export function withDeadline<T>(promise: Promise<T>, wait: Wait, abandon: () => void = nothing): Promise<T> {
  return new Promise((resolve, reject) => {
    let leave = nothing;
    promise.then(
      (value) => {
        leave();
        resolve(value);
      },
      (error) => {
        leave();
        reject(error);
      },
    );
    const give = (error: unknown): void => {
      reject(error);
      abandon();
    };
    try {
      leave = watchDeadline(wait, give);
    } catch (error) {
      give(error);
    }
  });
}

/** Ends after `ms`, 1 to 2^31 - 1, or earlier when the signal is aborted; it does not reject then. */
export function pause(ms: number, signal?: AbortSignal, timers: Timers = realTimers): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      cancelTimer();
      stopListening();
      resolve();
    };
    const cancelTimer = timers.after(ms, end);
    const stopListening = signal === undefined ? nothing : onAbort(signal, end);
  });
}

/** One deadline for several waits in a row. */
export class Deadline {
  readonly signal: AbortSignal | undefined;
  private readonly timeoutMs: number | undefined;
  private readonly endMs: number;

  /**
   * @param limits its time begins now
   * @param what for messages: "connecting to 10.0.0.1:7174"
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  constructor(
    { timeoutMs, signal }: WaitLimits,
    readonly what: string,
    private readonly timers: Timers = realTimers,
  ) {
    if (timeoutMs !== undefined) checkInteger('timeoutMs', timeoutMs, 1, MAX_TIMEOUT_MS);
    this.signal = checkAbortSignal('signal', signal);
    this.timeoutMs = timeoutMs;
    this.endMs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : timers.now() + timeoutMs;
  }

  /** Milliseconds that are left, at least 1, at most `max`. */
  leftMs(max = MAX_TIMEOUT_MS): number {
    return Math.max(1, Math.min(max, Math.ceil(this.endMs - this.timers.now())));
  }

  /** @throws RdmaError RDMA_ERR_ABORTED; RDMA_ERR_TIMEOUT when the time is over */
  check(): void {
    if (this.signal?.aborted) throw abortError(this.signal, this.aborted);
    if (this.timers.now() >= this.endMs) throw new RdmaError('RDMA_ERR_TIMEOUT', this.late);
  }

  /**
   * Waits for a promise until the deadline, as {@link withDeadline}.
   *
   * @throws what the promise rejects with; RdmaError RDMA_ERR_ABORTED, RDMA_ERR_TIMEOUT
   */
  wait<T>(promise: Promise<T>, abandon?: () => void): Promise<T> {
    const { signal, timers, late, aborted } = this;
    const timeoutMs = this.timeoutMs === undefined ? undefined : this.leftMs();
    return withDeadline(promise, { timeoutMs, signal, timers, late, aborted }, abandon);
  }

  private get late(): string {
    return `${this.what} took more than ${this.timeoutMs} ms`;
  }

  private get aborted(): string {
    return `${this.what} was aborted`;
  }
}
