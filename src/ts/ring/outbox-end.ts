// The end of an outbox, and its reason.
//
// Invariant: an end is final, and its first reason stays.
import { RdmaError } from '../core/errors.js';

export class OutboxEnd {
  /** Why it has failed, or was closed. */
  failure: RdmaError | undefined;
  /** close() was called: nothing new is taken; messages that were taken are still sent. */
  isClosing = false;
  /** close() does not wait any more. */
  isOver = false;

  /** True when nothing is sent any more. */
  get isEnded(): boolean {
    return this.failure !== undefined || this.isOver;
  }

  /** What a call gets that comes too late. */
  error(): RdmaError {
    return this.failure ?? new RdmaError('RDMA_ERR_CLOSED', 'the outbox is closed');
  }

  /** @throws RdmaError when nothing new is taken any more */
  checkTaking(): void {
    if (this.isEnded || this.isClosing) throw this.error();
  }

  /** @throws RdmaError when nothing is sent any more */
  check(): void {
    if (this.isEnded) throw this.error();
  }
}
