// How long a caller waits: until a deadline, or until its signal is aborted.
//
// Invariant: whatever ends the waiting, timer and listener are gone afterwards.
import { RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkInteger } from '../core/validate.js';
import type { WaitOptions } from '../verbs/operation.js';

const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** One deadline for several waits in a row. */
export class Deadline {
  readonly signal: AbortSignal | undefined;
  private readonly timeoutMs: number | undefined;
  private readonly endMs: number;

  /**
   * @param what for messages: "connecting to 10.0.0.1:7174"
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  constructor(
    options: WaitOptions,
    readonly what: string,
  ) {
    if (options.timeoutMs !== undefined) checkInteger('timeoutMs', options.timeoutMs, 1, MAX_TIMEOUT_MS);
    this.signal = checkAbortSignal('signal', options.signal);
    this.timeoutMs = options.timeoutMs;
    this.endMs = options.timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + options.timeoutMs;
  }

  /** Milliseconds that are left, at least 1, at most `max`. */
  leftMs(max: number): number {
    return Math.max(1, Math.min(max, Math.ceil(this.endMs - performance.now())));
  }

  /** @throws RdmaError RDMA_ERR_ABORTED, RDMA_ERR_TIMEOUT when the time is over */
  check(): void {
    if (this.signal?.aborted) throw this.aborted();
    if (performance.now() >= this.endMs) throw this.late();
  }

  /**
   * Waits for `promise`; after the deadline calls `abandon` and rejects.
   *
   * @throws what the promise rejects with; RdmaError RDMA_ERR_ABORTED, RDMA_ERR_TIMEOUT
   */
  wait<T>(promise: Promise<T>, abandon?: () => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const give = (error: RdmaError) => {
        leave();
        abandon?.();
        reject(error);
      };
      const onAbort = () => give(this.aborted());
      const left = this.leftMs(MAX_TIMEOUT_MS);
      const timer = this.endMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(() => give(this.late()), left);
      const leave = () => {
        clearTimeout(timer);
        this.signal?.removeEventListener('abort', onAbort);
      };
      this.signal?.addEventListener('abort', onAbort, { once: true });
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
      if (this.signal?.aborted) onAbort();
    });
  }

  private aborted(): RdmaError {
    return new RdmaError('RDMA_ERR_ABORTED', `${this.what} was aborted`, { cause: this.signal?.reason });
  }

  private late(): RdmaError {
    return new RdmaError('RDMA_ERR_TIMEOUT', `${this.what} took more than ${this.timeoutMs} ms`);
  }
}
