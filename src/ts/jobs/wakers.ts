// Those who wait for something to happen here.
//
// Invariant: a wake is a reason to look, never an answer. Nobody waits on after a wake or an abort.
import { onAbort } from '../core/abort.js';
import { abortError } from '../core/deadline.js';

/** @internal */
export class Wakers {
  private readonly waiting = new Set<() => void>();

  /** Wakes all who wait now. */
  wake(): void {
    for (const waiter of [...this.waiting]) waiter();
  }

  /** Waits for the next wake. Look before, without waiting between. @throws RdmaError RDMA_ERR_ABORTED */
  next(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(abortError(signal));
        return;
      }
      const end = () => {
        this.waiting.delete(wake);
        stop?.();
      };
      const wake = () => {
        end();
        resolve();
      };
      const stop =
        signal &&
        onAbort(signal, () => {
          end();
          reject(abortError(signal));
        });
      this.waiting.add(wake);
    });
  }
}
