// Waiting for changes of jobs: woken by the store, and by time where another process may change them unseen.
//
// Invariant: a wake is a reason to look, never an answer. Nobody waits longer than one poll for a change that happened.
import { abortError, type Timers } from '../core/deadline.js';
import { onAbort } from '../core/abort.js';

/** @internal */
export class Changes {
  private readonly waiting = new Map<string, Set<() => void>>();
  private stopTimer: (() => void) | undefined;

  constructor(
    private readonly pollMs: number | undefined,
    private readonly timers: Timers,
  ) {}

  /** Something happened to this job; undefined: to any. */
  readonly wake = (id: string | undefined): void => {
    if (id === undefined) {
      for (const one of [...this.waiting.keys()]) this.wake(one);
      return;
    }
    const waiters = this.waiting.get(id);
    this.waiting.delete(id);
    for (const waiter of waiters ?? []) waiter();
  };

  /**
   * Waits for the next reason to look at a job. Begin to wait before the look that it follows.
   *
   * @throws RdmaError RDMA_ERR_ABORTED
   */
  next(id: string, signal: AbortSignal | undefined): { woken: Promise<void>; stop: () => void } {
    let stop = () => {};
    const woken = new Promise<void>((resolve, reject) => {
      const waiters = this.waiting.get(id) ?? new Set();
      const end = () => {
        waiters.delete(wake);
        if (waiters.size === 0 && this.waiting.get(id) === waiters) this.waiting.delete(id);
        stopListening?.();
      };
      const wake = () => {
        end();
        resolve();
      };
      stop = wake;
      const aborted = () => {
        end();
        reject(abortError(signal));
      };
      const stopListening = signal === undefined ? undefined : onAbort(signal, aborted);
      waiters.add(wake);
      this.waiting.set(id, waiters);
      if (signal?.aborted) aborted();
    });
    woken.catch(() => {}); // the caller may have stopped
    this.poll();
    return { woken, stop };
  }

  // Looks that are not caused by a wake: as long as somebody waits.
  private poll(): void {
    const { pollMs } = this;
    if (this.stopTimer !== undefined || pollMs === undefined || this.waiting.size === 0) return;
    this.stopTimer = this.timers.after(
      pollMs,
      () => {
        this.stopTimer = undefined;
        this.wake(undefined);
        this.poll();
      },
      true,
    );
  }

  /** Nobody is woken by time any more; everybody is woken once. */
  close(): void {
    this.stopTimer?.();
    this.wake(undefined);
  }
}
