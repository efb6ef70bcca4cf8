// The pieces of a stage, as the handler of a task reads them while they arrive.
//
// Invariant: it yields every piece of every instance of that stage, those of one instance in order, and ends when all
// of them have closed their streams. When nobody wants the task any more, it rejects with the reason.
import type { RdmaError } from '../core/errors.js';
import type { StagePiece } from './input.js';
import type { JoinedInputs } from './join.js';

/** What a reader needs of its task. */
export interface ReaderHost {
  readonly joined: JoinedInputs;
  /**
   * Why there is nothing more to read: the task is not wanted any more, or its handler has ended; undefined: there may
   * be.
   */
  readonly readEnd: RdmaError | undefined;
  /** The handler waits for what comes, or does so no more. */
  waits(isWaiting: boolean): void;
}

/** Of a handler that asked for the next piece. */
interface Waiting {
  readonly resolve: (result: IteratorResult<StagePiece, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

const END: IteratorResult<StagePiece, undefined> = Object.freeze({ done: true, value: undefined });

export class PieceReader implements AsyncIterableIterator<StagePiece, undefined> {
  private readonly host: ReaderHost;
  private readonly positions: readonly number[];
  private readonly read: number[]; // by position
  private waiting: Waiting[] = [];
  private turn = 0;
  private hasEnded = false;

  /** @param positions of the senders whose streams it reads, see JoinedInputs.streamsFrom() */
  constructor(host: ReaderHost, positions: readonly number[]) {
    this.host = host;
    this.positions = positions;
    this.read = positions.map(() => 0);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<StagePiece, undefined>> {
    if (this.hasEnded) return Promise.resolve(END);
    const { readEnd } = this.host;
    if (readEnd !== undefined) return Promise.reject(readEnd);
    const found = this.waiting.length === 0 ? this.find() : undefined;
    if (found !== undefined) return Promise.resolve(found);
    const result = new Promise<IteratorResult<StagePiece, undefined>>((resolve, reject) => {
      this.waiting.push({ resolve, reject });
    });
    result.catch(() => {}); // nobody need wait for it
    this.host.waits(true);
    return result;
  }

  /** The handler reads no more. */
  return(): Promise<IteratorResult<StagePiece, undefined>> {
    this.hasEnded = true;
    this.settle(({ resolve }) => resolve(END));
    return Promise.resolve(END);
  }

  // What can be read now, or the end; undefined: neither.
  private find(): IteratorResult<StagePiece, undefined> | undefined {
    const { positions, read } = this;
    const { streams } = this.host.joined;
    let open = false;
    // By turns, so that an instance that is far ahead does not keep the others' pieces waiting.
    for (let i = 0; i < positions.length; i++) {
      const at = (this.turn + i) % positions.length;
      const stream = streams![positions[at]!]!;
      if (stream.readable > read[at]!) {
        this.turn = at + 1;
        return { done: false, value: stream.piece(read[at]!++) };
      }
      if (!stream.isClosed) open = true;
    }
    return open ? undefined : END;
  }

  /** More may be there, or nothing more will be. */
  wake(): void {
    if (this.waiting.length === 0) return;
    const { readEnd } = this.host;
    if (readEnd !== undefined) {
      this.settle(({ reject }) => reject(readEnd));
      return;
    }
    while (this.waiting.length > 0) {
      const found = this.find();
      if (found === undefined) return;
      this.waiting.shift()!.resolve(found);
    }
    this.host.waits(false);
  }

  private settle(end: (waiting: Waiting) => void): void {
    const { waiting } = this;
    if (waiting.length === 0) return;
    this.waiting = [];
    for (const each of waiting) end(each);
    this.host.waits(false);
  }
}
