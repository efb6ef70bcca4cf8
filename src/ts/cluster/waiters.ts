// Callers that wait for a condition of a pipeline to hold.
//
// Invariant: a condition is checked when somebody begins to wait and at each review(), no more; when the pipeline has
// ended, nobody waits.
import { watchDeadline } from '../core/deadline.js';
import type { RdmaError } from '../core/errors.js';

export class Waiters {
  private readonly waiting = new Set<() => void>();
  private readonly ended: () => RdmaError | undefined;

  /** @param ended why nobody waits any more, if so */
  constructor(ended: () => RdmaError | undefined) {
    this.ended = ended;
  }

  /**
   * Waits until a condition holds.
   *
   * @param condition what it throws ends the wait
   * @param timeoutMs 1 to 2^31 - 1; undefined: as long as it takes
   * @param words of the error when it takes longer, or that error
   * @throws RdmaError RDMA_ERR_TIMEOUT; that with which all waits have ended; what the condition throws
   */
  until(condition: () => boolean, timeoutMs?: number, words: () => string | RdmaError = () => ''): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const end = (error?: unknown) => {
        stopWatching();
        this.waiting.delete(review);
        if (error === undefined) resolve();
        else reject(error);
      };
      const review = () => {
        const ended = this.ended();
        if (ended !== undefined) return end(ended);
        try {
          if (condition()) end();
        } catch (error) {
          end(error);
        }
      };
      const stopWatching = watchDeadline({ timeoutMs, late: words }, end);
      this.waiting.add(review);
      review();
    });
  }

  /** @throws that with which all waits have ended */
  check(): void {
    const ended = this.ended();
    if (ended !== undefined) throw ended;
  }

  /** Something has changed. */
  review(): void {
    for (const review of [...this.waiting]) review();
  }
}
