// Invariant: documents come out in the order they came in, each to exactly one taker; the queue is bounded in bytes
// and number; a taker that is aborted or times out takes nothing.

import { abortError, watchDeadline } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';

/** Most bytes of documents held for an application that does not take them. */
export const MAX_HELD_BYTES = 1024 * 1024;
/** Most documents held likewise. */
export const MAX_HELD_DOCUMENTS = 4096;

interface Held {
  readonly document: unknown;
  readonly bytes: number;
}

interface Waiter {
  resolve(document: unknown): void;
  reject(error: RdmaError): void;
}

/** Documents that arrived and were not taken yet, and the `receive` calls that wait for one. */
export class InboundQueue {
  private readonly held: Held[] = [];
  private readonly waiters: Waiter[] = [];
  private heldBytes = 0;
  private ended: RdmaError | undefined;

  /**
   * Takes in a document: gives it to the longest waiting `take`, or holds it.
   *
   * @param document the document
   * @param bytes its size on the wire
   * @throws RDMA_ERR_QUEUE_FULL when too much is held already
   */
  put(document: unknown, bytes: number): void {
    const waiter = this.waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve(document);
      return;
    }
    if (this.heldBytes + bytes > MAX_HELD_BYTES || this.held.length >= MAX_HELD_DOCUMENTS) {
      throw new RdmaError(
        'RDMA_ERR_QUEUE_FULL',
        `the peer sent more than this side took: ${this.held.length} documents of ${this.heldBytes} bytes are held`,
        { remedy: 'set onMessage as soon as the channel is there' },
      );
    }
    this.held.push({ document, bytes });
    this.heldBytes += bytes;
  }

  /** Returns the oldest document held, in a box, or undefined when none is. */
  shift(): { readonly document: unknown } | undefined {
    const held = this.held.shift();
    if (held !== undefined) this.heldBytes -= held.bytes;
    return held;
  }

  /**
   * Takes the oldest document, or waits for the next one.
   *
   * @param timeoutMs how long to wait
   * @param signal gives up when aborted
   * @returns the document; rejects with RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED, or the error given to `end`
   */
  take(timeoutMs: number, signal: AbortSignal | undefined): Promise<unknown> {
    if (signal?.aborted === true) return Promise.reject(abortError(signal));
    const held = this.shift();
    if (held !== undefined) return Promise.resolve(held.document);
    if (this.ended !== undefined) return Promise.reject(this.ended);
    return new Promise((resolve, reject) => {
      const late = `the peer sent no message within ${timeoutMs} ms`;
      const leave = watchDeadline({ timeoutMs, signal, late }, (error) => {
        this.waiters.splice(this.waiters.indexOf(waiter), 1);
        reject(error);
      });
      const waiter: Waiter = {
        resolve(document) {
          leave();
          resolve(document);
        },
        reject(error) {
          leave();
          reject(error);
        },
      };
      this.waiters.push(waiter);
    });
  }

  /**
   * Ends the stream: those who wait, and those who come when nothing is held any more, get the error. Only the first
   * call counts.
   *
   * @param error what they get
   * @param keepHeld whether what is held can still be taken
   */
  end(error: RdmaError, keepHeld: boolean): void {
    if (this.ended !== undefined) return;
    this.ended = error;
    if (!keepHeld) this.held.length = 0;
    for (const waiter of this.waiters.splice(0)) waiter.reject(error);
  }
}
