// The promises of one queue: posting them in order, and keeping those back that do not fit.
//
// Invariant: operations are posted in the order in which they were asked for; one that waits for room is posted when an
// earlier one of this queue has completed. When the queue closes, all of them are rejected.
import { checkAbortSignal, checkInteger } from '../core/validate.js';
import { isRdmaError, RdmaError } from '../core/errors.js';
import type { CompletionPump } from './completion-pump.js';
import { type CompletedOperation, Operation, type WaitOptions } from './operation.js';

interface Waiting {
  operation: Operation;
  post: (wrId: number) => void;
}

/** @internal */
export class OperationQueue {
  private readonly waiting: Waiting[] = [];
  private readonly posted = new Set<Operation>();

  /**
   * @param name of the object, for words
   * @param pumps the completion queues in which completions of this queue come
   */
  constructor(
    private readonly name: string,
    private readonly pumps: () => Iterable<CompletionPump>,
  ) {}

  /** How many operations the device has. */
  get underWay(): number {
    return this.posted.size;
  }

  /** How many operations the device has, and how many wait for room. */
  get pending(): number {
    return this.posted.size + this.waiting.length;
  }

  /**
   * Posts one operation, now or when there is room.
   *
   * @param post fills record 0 with this wrId and hands it down; throws what the post throws
   * @param ended called once when the device has done with it, before the promise settles
   */
  run(
    what: string,
    options: WaitOptions,
    post: (wrId: number) => void,
    ended: (completed: CompletedOperation | undefined) => void = () => {},
  ): Promise<CompletedOperation> {
    const signal = checkAbortSignal('signal', options.signal);
    const { timeoutMs } = options;
    if (timeoutMs !== undefined) checkInteger('timeoutMs', timeoutMs, 1, 2 ** 31 - 1);
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', `${what} was aborted before it was posted`);
    const operation = new Operation(what, { signal, timeoutMs }, () => this.forget(operation));
    operation.onEnd = (completed) => {
      ended(completed);
      this.onEnd(operation);
    };
    this.waiting.push({ operation, post });
    this.flush();
    return operation.promise;
  }

  /** Rejects everything: the queue is closed. */
  close(): void {
    const error = () => new RdmaError('RDMA_ERR_CLOSED', `the ${this.name} was closed`);
    for (const { operation } of this.waiting.splice(0)) operation.fail(error());
    for (const operation of [...this.posted]) operation.fail(error());
  }

  private flush(): void {
    let fresh = false;
    while (this.waiting.length > 0) {
      const { operation, post } = this.waiting[0]!;
      try {
        post(operation.wrId);
      } catch (error) {
        const failure = isRdmaError(error) ? error : new RdmaError('EINVAL', String(error), { cause: error });
        // With nothing of ours under way nobody would ever say that there is room.
        if (failure.code === 'RDMA_ERR_QUEUE_FULL' && this.posted.size > 0) break;
        this.waiting.shift();
        operation.fail(failure);
        continue;
      }
      this.waiting.shift();
      operation.posted = true;
      this.posted.add(operation);
      for (const pump of this.pumps()) pump.hold();
      fresh = true;
    }
    // What a device does at once need not wait for a turn of the loop.
    if (fresh) for (const pump of this.pumps()) pump.drive();
  }

  private onEnd(operation: Operation): void {
    if (!this.posted.delete(operation)) return;
    for (const pump of this.pumps()) pump.release();
    if (this.waiting.length > 0) queueMicrotask(() => this.flush());
  }

  private forget(operation: Operation): void {
    const at = this.waiting.findIndex((entry) => entry.operation === operation);
    if (at >= 0) this.waiting.splice(at, 1);
  }
}
