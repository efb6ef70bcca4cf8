// The stream of one task, which its handler publishes piece by piece.
//
// Invariant: pieces go out in the order of their writes, with the numbers 0, 1 ..., and the output that closes the
// stream behind them all. Once nobody wants the task any more, no piece goes out. The task's inputs, and the memory of
// its pieces, are kept until every receiver has acknowledged every piece that went out.
import { RdmaError } from '../core/errors.js';
import type { Parts } from './body.js';
import { Custody, type Held } from './custody.js';
import type { Envelope } from './envelope.js';
import { encodeMeta, type Meta } from './meta.js';
import type { Outgoing } from './transmitter.js';

/** The output of a task, published piece by piece. */
export interface StageStream {
  /** Pieces that were sent. */
  readonly pieces: number;
  /**
   * Publishes the next piece. Stages that stream this one, and the caller, get it at once.
   *
   * @param parts tensors by name, as in StageOutput.parts. Those of task.output() are not copied and must stay as they
   *   are from now on; others must stay as they are until the promise settles.
   * @param meta JSON metadata
   * @returns settles when the piece was sent, which it is at once unless the instance has no memory for it
   * @throws RdmaError (rejects) RDMA_ERR_MESSAGE_TOO_LARGE for more pieces than `maxPieces`, or more bytes than
   *   `maxOutputBytes` for all together; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_ABORTED and others when the task is not
   *   wanted any more, see StageTask.signal; RDMA_ERR_CLOSED after the handler has ended
   */
  write(parts: Parts, meta?: Meta): Promise<void>;
}

/** What a stream needs of its task and its stage instance. */
export interface StreamHost {
  readonly maxPieces: number;
  /** Why its task is not wanted any more; undefined: it is. */
  readonly cancelled: RdmaError | undefined;
  /** True when the task may send: its handler runs, or has ended with an output. */
  readonly isWanted: boolean;
  /** Checks a piece, when so many bytes were taken by the pieces before. */
  prepare(parts: Parts, meta: Uint8Array, takenBytes: number): { outgoing: Outgoing; blocks: readonly Held[] };
  /** The head of the messages of this task. */
  envelope(): Envelope;
  /** Sends a message of this task; false when there is no memory for it now. */
  transmit(envelope: Envelope, outgoing: Outgoing, blocks: readonly Held[], custody: Custody): boolean;
  /** Calls `attempt` now, or when there is memory, until it answers true; in order. */
  attempt(attempt: () => boolean): void;
  /** Every receiver has acknowledged everything. */
  settled(): void;
}

const NO_BYTES = new Uint8Array(0);
const DONE = Promise.resolve();

export class StreamOut implements StageStream {
  /** Of all pieces, and of the output that closes the stream. */
  readonly custody: Custody;
  private readonly host: StreamHost;
  private envelope: Envelope | undefined;
  private written = 0;
  private sent = 0;
  private takenBytes = 0;
  private isOpen = true; // to the handler
  private isDropped = false;

  constructor(host: StreamHost) {
    this.host = host;
    this.custody = new Custody([], () => host.settled());
  }

  get pieces(): number {
    return this.sent;
  }

  /** Bytes of all pieces that were written. */
  get bytes(): number {
    return this.takenBytes;
  }

  // A function that knows its stream: handlers may take it out of it.
  get write(): StageStream['write'] {
    return (parts, meta) => {
      try {
        return this.add(parts, meta);
      } catch (error) {
        return rejected(error);
      }
    };
  }

  private add(parts: Parts, meta: Meta | undefined): Promise<void> {
    const { host } = this;
    const { cancelled, maxPieces } = host;
    if (cancelled !== undefined) throw cancelled;
    if (!this.isOpen || this.isDropped) {
      throw new RdmaError('RDMA_ERR_CLOSED', 'the stream is closed: its handler has ended');
    }
    if (this.written >= maxPieces) {
      throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `the stream has ${maxPieces} pieces already`, {
        remedy: 'raise maxPieces of its stage, or publish larger pieces',
      });
    }
    const encoded = meta === undefined ? NO_BYTES : encodeMeta(meta);
    const { outgoing, blocks } = host.prepare(parts, encoded, this.takenBytes);
    this.written++;
    this.takenBytes += outgoing.bytes;
    this.envelope ??= host.envelope();
    let resolve = () => {};
    let reject = (_: unknown) => {};
    let failure: unknown;
    let isOver = false;
    host.attempt(() => {
      try {
        if (!this.send(outgoing, blocks)) return false;
        resolve();
      } catch (error) {
        failure = error;
        reject(error);
      }
      isOver = true;
      return true;
    });
    if (failure !== undefined) throw failure;
    if (isOver) return DONE;
    const result = new Promise<void>((onSent, onFailed) => {
      resolve = onSent;
      reject = onFailed;
    });
    result.catch(() => {}); // handlers need not wait for it
    return result;
  }

  // False when there is no memory for it.
  private send(outgoing: Outgoing, blocks: readonly Held[]): boolean {
    const { host } = this;
    const envelope = this.envelope!;
    if (this.isDropped || !host.isWanted) {
      for (const block of blocks) block.release();
      throw host.cancelled ?? new RdmaError('RDMA_ERR_ABORTED', 'the task is not wanted any more');
    }
    envelope.piece = this.sent;
    if (!host.transmit(envelope, outgoing, blocks, this.custody)) return false;
    this.sent++;
    return true;
  }

  /** Nothing more is written: the handler has ended. What waits for memory still goes out. */
  end(): void {
    this.isOpen = false;
  }

  /** Nothing more goes out: the task has failed, or is not wanted. */
  drop(): void {
    this.isDropped = true;
  }
}

function rejected(error: unknown): Promise<never> {
  const result = Promise.reject(error);
  result.catch(() => {});
  return result;
}
