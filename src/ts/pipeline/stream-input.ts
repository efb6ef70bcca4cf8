// One sender's stream in one of its runs, as far as it has arrived: pieces by number, and the output that closes it.
//
// Invariant: pieces are read in the order of their numbers, each when it and all before it can be read. The stream is
// closed when the closing output and every piece that it counts can be read. A number comes once; Join replaces a
// message by a newer copy of it.
import { NO_STREAM, refused } from './envelope.js';
import type { Input, StagePiece } from './input.js';

export class StreamIn {
  private readonly list: (Input | undefined)[] = []; // by number
  private closing: Input | undefined;
  private readableCount = 0;

  /** A message of the run; undefined: none has come. */
  get any(): Input | undefined {
    if (this.closing !== undefined) return this.closing;
    for (let i = 0; i < this.list.length; i++) if (this.list[i] !== undefined) return this.list[i];
    return undefined;
  }

  /** The message that has the place of `input`. */
  copyOf(input: Input): Input | undefined {
    const { piece } = input.envelope;
    return piece === NO_STREAM ? this.closing : this.list[piece];
  }

  /**
   * One more message of the run, of which no copy is here.
   *
   * @throws RdmaError RDMA_ERR_PROTOCOL when there are more pieces than the closing output counts
   */
  add(input: Input): void {
    const { piece, pieces } = input.envelope;
    const end = piece === NO_STREAM ? pieces : this.closing?.envelope.pieces;
    const length = Math.max(this.list.length, piece + 1);
    if (end !== undefined && length > end) throw refused(`piece ${length - 1} of a stream of ${end}`);
    if (piece === NO_STREAM) {
      this.closing = input;
      input.closes = this;
    } else this.list[piece] = input;
  }

  /** How many pieces can be read, from the first one on without a gap. */
  get readable(): number {
    const { list } = this;
    while (this.readableCount < list.length && list[this.readableCount]?.isLoaded === true) this.readableCount++;
    return this.readableCount;
  }

  /** A piece that can be read. */
  piece(number: number): Input {
    return this.list[number]!;
  }

  /** All pieces that can be read. */
  get pieces(): readonly StagePiece[] {
    return this.list.slice(0, this.readable) as StagePiece[];
  }

  /** Every message that has come. */
  all(): Input[] {
    const all = this.list.filter((piece): piece is Input => piece !== undefined);
    return this.closing === undefined ? all : [...all, this.closing];
  }

  get isClosed(): boolean {
    const { closing } = this;
    return closing?.isLoaded === true && this.readable === closing.envelope.pieces;
  }

  /** True when a task may begin that reads pieces as they come. */
  get hasBegun(): boolean {
    return this.readable > 0 || this.isClosed;
  }

  /** Bytes of all pieces. */
  get bytes(): number {
    let bytes = 0;
    for (const piece of this.list) bytes += piece?.bytes ?? 0;
    return bytes;
  }
}
