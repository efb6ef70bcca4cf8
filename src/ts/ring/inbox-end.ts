// The end of an inbox: whether it still takes producers, and whether it is closed.
//
// Invariant: an end is final: an inbox that drains takes no producer any more, and one that closes delivers nothing any
// more.
import { RdmaError } from '../core/errors.js';

export class InboxEnd {
  /** drain() was called: no producer is let in; messages that were sent are still delivered. */
  isDraining = false;
  /** close() was called. */
  isClosing = false;

  /** @throws RdmaError RDMA_ERR_CLOSED when the inbox is closed */
  check(): void {
    if (this.isClosing) throw this.error();
  }

  /** What a call gets that comes too late. */
  error(): RdmaError {
    return new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed');
  }

  /** @throws RdmaError RDMA_ERR_CLOSED or RDMA_ERR_BUSY when no producer is let in any more */
  checkTaking(): void {
    if (this.isClosing) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closing');
    // To be tried again, at this place or another one.
    if (this.isDraining) throw new RdmaError('RDMA_ERR_BUSY', 'the inbox drains and takes no producer');
  }
}
