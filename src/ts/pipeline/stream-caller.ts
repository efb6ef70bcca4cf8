// The streams of the last stages, as the caller of a running request gets them.
//
// Invariant: from each instance of a last stage the caller gets the pieces of one run in order, each once. When that
// run is given up it gets `restarted`, before the first piece of the next run; and the result has the pieces of the
// last run that it got.
import type { Parts } from './body.js';
import type { Input } from './input.js';
import type { JoinedInputs } from './join.js';
import type { Meta } from './meta.js';
import type { StreamIn } from './stream-input.js';
import { copyTensor, type Tensor } from './tensor.js';

/** One piece of a result. */
export interface PipelinePiece {
  /** 0, 1 ... in the stream of that instance. */
  number: number;
  meta: Meta;
  parts: Record<string, Tensor>;
}

/** What becomes of the stream of one instance of a last stage. */
export type PieceEvent =
  | ({ type: 'piece'; stage: string; instance: number } & PipelinePiece)
  /**
   * Its pieces so far count no more, as the instance or one before it has begun again: they come from the first again.
   */
  | { type: 'restarted'; stage: string; instance: number };

/** One stream as far as the caller has it. */
interface Delivered {
  readonly stage: string;
  readonly instance: number;
  readonly stream: StreamIn;
  readonly pieces: PipelinePiece[];
}

/** Delivers pieces to one caller. */
export class PieceTeller {
  private readonly onPiece: (event: PieceEvent) => void;
  private readonly views: boolean;
  private readonly isOver: () => boolean;
  private delivered: (Delivered | undefined)[] = []; // by the position of the sender

  /**
   * @param views the caller gets views of received memory; else copies
   * @param isOver true when the caller wants to hear nothing more
   */
  constructor(onPiece: (event: PieceEvent) => void, views: boolean, isOver: () => boolean) {
    this.onPiece = onPiece;
    this.views = views;
    this.isOver = isOver;
  }

  /**
   * Delivers what is new of a request. @throws what the caller throws, or RdmaError for metadata that cannot be read
   */
  deliver(joined: JoinedInputs): void {
    const streams = joined.streams ?? [];
    // Of an attempt on another route all begin again.
    for (let at = 0; at < this.delivered.length; at++) {
      const delivered = this.delivered[at];
      if (delivered === undefined || streams[at] === delivered.stream) continue;
      this.delivered[at] = undefined;
      if (delivered.pieces.length > 0) {
        this.onPiece({ type: 'restarted', stage: delivered.stage, instance: delivered.instance });
      }
    }
    for (let at = 0; at < streams.length; at++) if (streams[at] !== undefined) this.deliverFrom(at, streams[at]!);
  }

  private deliverFrom(at: number, stream: StreamIn): void {
    for (;;) {
      const next = this.delivered[at]?.pieces.length ?? 0;
      if (next >= stream.readable || this.isOver()) return;
      const input = stream.piece(next);
      const { stage, instance } = input;
      const piece = pieceOf(input, this.views);
      const delivered = this.delivered[at] ?? { stage, instance, stream, pieces: [] };
      delivered.pieces.push(piece);
      this.delivered[at] = delivered;
      this.onPiece({ type: 'piece', stage, instance, ...piece });
    }
  }

  /** The pieces of a stream that were delivered; undefined: none were. */
  piecesOf(stream: StreamIn): PipelinePiece[] | undefined {
    return this.delivered.find((delivered) => delivered?.stream === stream)?.pieces;
  }
}

/** All pieces of a closed stream, as a result has them. */
export function piecesOf(stream: StreamIn, views: boolean, teller: PieceTeller | undefined): PipelinePiece[] {
  return teller?.piecesOf(stream) ?? stream.pieces.map((piece) => pieceOf(piece as Input, views));
}

function pieceOf({ number, meta, parts }: Input, views: boolean): PipelinePiece {
  return { number, meta, parts: views ? { ...parts } : copyParts(parts) };
}

/** Tensors that belong to the caller. */
export function copyParts(parts: Parts): Record<string, Tensor> {
  const own: Record<string, Tensor> = Object.create(null);
  for (const name of Object.keys(parts)) own[name] = copyTensor(parts[name]!);
  return own;
}
