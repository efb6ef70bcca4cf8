// A shared receive queue: one stock of receives for many queue pairs.
//
// Invariant: postReceive() hands down records that are filled already and allocates nothing; it closes after the queue
// pairs that receive from it.
import { constants } from 'node:os';
import { errnoError, RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import type { CompletionQueue } from './completion-queue.js';
import { hotCalls } from '../addon/hot-calls.js';
import { native, type NativeSrqAttributes } from '../addon/native.js';
import type { CompletedOperation, WaitOptions } from './operation.js';
import { OperationQueue } from './operation-queue.js';
import { type Pieces, runReceive } from './operations.js';
import { postFailure } from './post-failure.js';
import type { ProtectionDomain } from './protection-domain.js';
import { ReceiveRequests } from './receive-requests.js';
import { Resource } from './resource.js';

/** How to create a shared receive queue. */
export interface SharedReceiveQueueOptions {
  /** Receives that may be outstanding, 1 to the device's maxSrqWr; default 128. */
  maxWr?: number;
  /** Pieces of a receive, 1 to 4; default 1. */
  maxSge?: number;
  /** An SRQ_LIMIT_REACHED event when fewer receives are left, once; 0 (default): none. */
  limit?: number;
}

/** Made by {@link ProtectionDomain.createSharedReceiveQueue}. */
export class SharedReceiveQueue extends Resource {
  /** Its number within the device, as asynchronous events name it. */
  readonly number: number;
  /** Requests to be handed down by postReceive(). */
  readonly receives: ReceiveRequests;
  /** What the device granted; at least what was asked for. */
  readonly capabilities: { maxWr: number; maxSge: number };
  private readonly hot = hotCalls();
  private readonly device: ProtectionDomain['device'];
  // The completion queues in which its receives complete, and of how many queue pairs.
  private readonly queues = new Map<CompletionQueue, number>();
  private readonly promises = new OperationQueue('shared receive queue', () =>
    [...this.queues.keys()].map((queue) => queue.pump),
  );

  /** @internal */
  constructor(pd: ProtectionDomain, options: SharedReceiveQueueOptions) {
    const result = native().createSrq(
      pd.handle,
      checkInteger('maxWr', options.maxWr ?? 128, 1, 65536),
      checkInteger('maxSge', options.maxSge ?? 1, 1, 4),
      checkInteger('limit', options.limit ?? 0, 0, 65536),
    );
    if (typeof result === 'number') {
      throw errnoError(result, 'ibv_create_srq', 'ask for less than maxSrqWr and maxSrqSge of device.attributes');
    }
    super(result.handle, 'shared receive queue', 'ibv_destroy_srq', [pd]);
    this.number = result.number;
    this.receives = new ReceiveRequests(result.receiveRecords);
    this.capabilities = { maxWr: result.maxWr, maxSge: result.maxSge };
    this.device = pd.device;
    this.device.elements.sharedReceiveQueues.set(this.number, this);
  }

  /**
   * Hands down the first `count` requests of {@link SharedReceiveQueue.receives}.
   *
   * @returns `count`
   * @throws RdmaError RDMA_ERR_QUEUE_FULL when not all fit (`error.taken` were posted); EINVAL; RDMA_ERR_CLOSED
   * @see ibv_post_srq_recv(3)
   */
  postReceive(count: number): number {
    const taken = this.hot.postSharedReceive(this.rawHandle, count);
    if (taken < 0) throw postFailure('SharedReceiveQueue', taken, 'ibv_post_srq_recv', this.receives.taken);
    return taken;
  }

  /**
   * Arms the limit, or changes the size where the device can (ENOTSUP or EINVAL elsewhere).
   *
   * @throws RdmaError EINVAL, ENOMEM, ENOTSUP; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   * @see ibv_modify_srq(3)
   */
  modify(changes: { limit?: number; maxWr?: number }): void {
    const { limit, maxWr } = changes;
    if (limit === undefined && maxWr === undefined) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'nothing to change: give limit or maxWr');
    }
    const rc = native().modifySrq(
      this.handle,
      maxWr === undefined ? undefined : checkInteger('maxWr', maxWr, 1, 2 ** 31 - 1),
      limit === undefined ? undefined : checkInteger('limit', limit, 0, 2 ** 31 - 1),
    );
    if (rc === -constants.errno.EINVAL) throw errnoError(rc, 'ibv_modify_srq', 'the limit must be below maxWr');
    if (rc !== 0) throw errnoError(rc, 'ibv_modify_srq');
  }

  /** The size, and the limit if it is still armed (else 0). @see ibv_query_srq(3) */
  query(): NativeSrqAttributes {
    const result = native().querySrq(this.handle);
    if (typeof result === 'number') throw errnoError(result, 'ibv_query_srq');
    return result;
  }

  /**
   * Posts one receive.
   *
   * @param pieces where the message goes; none: enough for a WRITE with an immediate
   * @returns when a message for one of its queue pairs has come into it
   * @throws as Operations.receive
   * @see ibv_post_srq_recv(3)
   */
  async receive(pieces: Pieces, options: WaitOptions = {}): Promise<CompletedOperation> {
    return await runReceive(this.promises, this, pieces, options);
  }

  /** @internal A queue pair completes receives of this queue in `queue`. */
  attach(queue: CompletionQueue): void {
    const users = this.queues.get(queue) ?? 0;
    this.queues.set(queue, users + 1);
    if (users === 0) queue.pump.hold(this.promises.underWay);
  }

  /** @internal One does so no more. */
  detach(queue: CompletionQueue): void {
    const users = (this.queues.get(queue) ?? 1) - 1;
    if (users > 0) {
      this.queues.set(queue, users);
      return;
    }
    this.queues.delete(queue);
    queue.pump.release(this.promises.underWay);
  }

  protected override onClosed(): void {
    this.promises.close();
    this.device.elements.sharedReceiveQueues.delete(this.number);
  }
}
