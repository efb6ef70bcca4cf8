// One work request with a promise.
//
// Invariant: from posting until its completion an operation stays in the table, whatever became of its promise: a
// signal or deadline ends the waiting, never the work of the device. `settled` on such an error tells when the memory
// is free.
import { watchDeadline } from '../core/deadline.js';
import { RdmaError, type ErrorCode } from '../core/errors.js';
import { completionError } from './completion-error.js';
import { CompletionFlags } from '../addon/constants.js';
import type { Completions } from './completions.js';

// Above what programs use for themselves: wrIds of promises are whole numbers from 2^52 up.
const FIRST_WR_ID = 2 ** 52;

let next = 0;
const table = new Map<number, Operation>();

/** @internal The operation that waits for this wrId, if one does. */
export function operationOf(wrId: number): Operation | undefined {
  return wrId >= FIRST_WR_ID ? table.get(wrId) : undefined;
}

/** What a completion said (ibv_wc). */
export interface CompletedOperation {
  /** A value of CompletionOpcode. */
  opcode: number;
  /** Bytes received, by a receive, READ or atomic. */
  byteLength: number;
  /** The immediate that came with it. */
  imm?: number;
  /** The rkey of this side that the peer's SEND_WITH_INV made invalid. */
  invalidatedRkey?: number;
  /** The sender's queue pair, of a datagram. */
  sourceQp?: number;
  /** Whether the first 40 bytes received are the global routing header. */
  hasGrh: boolean;
}

/** How long to wait. */
export interface WaitOptions {
  /** Ends the waiting with RDMA_ERR_ABORTED. */
  signal?: AbortSignal | undefined;
  /** Ends the waiting with RDMA_ERR_TIMEOUT, 1 to 2^31 - 1. */
  timeoutMs?: number | undefined;
}

/** @internal */
export class Operation {
  readonly wrId: number;
  readonly promise: Promise<CompletedOperation>;
  /** Called once, when the device has done with it or it was never posted. */
  onEnd: (completed: CompletedOperation | undefined) => void = () => {};
  /** Whether the device has it. */
  posted = false;
  private resolve!: (completed: CompletedOperation) => void;
  private reject!: (error: RdmaError) => void;
  private readonly leave: () => void;
  private freed: (() => void) | undefined;
  private status = 0;
  private vendorError = 0;
  private qpNum = 0;
  private completed: CompletedOperation | undefined;

  constructor(
    private readonly what: string,
    { signal, timeoutMs }: WaitOptions,
    /** Called when nobody waits any more for what was not posted yet. */
    private readonly onAbandoned: () => void,
  ) {
    const late = () => this.abandonment('RDMA_ERR_TIMEOUT', `${what} took longer than ${timeoutMs} ms`);
    const aborted = () => this.abandonment('RDMA_ERR_ABORTED', `${what} was aborted`);
    this.leave = watchDeadline({ signal, timeoutMs, late, aborted }, (error) => this.abandon(error));
    this.wrId = FIRST_WR_ID + next;
    next = (next + 1) % FIRST_WR_ID;
    table.set(this.wrId, this);
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  /** Takes over what the completion at `index` says, whose record will not last. */
  note(completions: Completions, index: number): void {
    this.status = completions.status(index);
    this.vendorError = completions.vendorError(index);
    this.qpNum = completions.qpNum(index);
    if (this.status !== 0) return;
    const flags = completions.flags(index);
    this.completed = {
      opcode: completions.opcode(index),
      byteLength: completions.byteLength(index),
      hasGrh: (flags & CompletionFlags.GRH) !== 0,
    };
    if (flags & CompletionFlags.WITH_IMM) this.completed.imm = completions.imm(index);
    if (flags & CompletionFlags.WITH_INV) this.completed.invalidatedRkey = completions.imm(index);
    const sourceQp = completions.sourceQp(index);
    if (sourceQp !== 0) this.completed.sourceQp = sourceQp;
  }

  /** The device has done with it. */
  finish(): void {
    this.end();
    if (this.completed !== undefined) {
      this.resolve(this.completed);
      return;
    }
    const { qpNum, vendorError, what: operation } = this;
    this.reject(completionError(this.status, { qpNum, vendorError, operation }));
  }

  /** It was not posted, or its queue is gone. */
  fail(error: RdmaError): void {
    this.end();
    this.reject(error);
  }

  private end(): void {
    if (!table.delete(this.wrId)) return;
    this.leave();
    this.onEnd(this.completed);
    this.freed?.();
  }

  // A promise that nobody waits for any more: it is rejected now; what was posted ends for itself later.
  private abandon(error: RdmaError): void {
    if (this.posted) {
      this.reject(error);
      return;
    }
    this.fail(error);
    this.onAbandoned();
  }

  private abandonment(code: ErrorCode, words: string): RdmaError {
    if (!this.posted) return new RdmaError(code, `${words} before it was posted`);
    const settled = new Promise<void>((resolve) => {
      this.freed = resolve;
    });
    const remedy = 'its memory is in use until error.settled resolves; toError() or close() of the queue pair ends it';
    return Object.assign(new RdmaError(code, words, { remedy }), { settled });
  }
}
