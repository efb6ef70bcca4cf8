// What a caller hears of the streams of the last stages while its request runs.
//
// Invariant: of each instance of a last stage it hears the pieces of one run in order, each once. When that run is
// given up it hears `restarted`, before the first piece of the next one; and the result has the pieces of the last run
// heard.
import type { Parts } from './body.js';
import type { Input } from './input.js';
import type { Joined } from './join.js';
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

/** One stream as far as the caller has heard it. */
interface Heard {
  readonly stage: string;
  readonly instance: number;
  readonly stream: StreamIn;
  readonly pieces: PipelinePiece[];
}

/** Tells one caller. */
export class PieceTeller {
  private readonly onPiece: (event: PieceEvent) => void;
  private readonly views: boolean;
  private readonly isOver: () => boolean;
  private heard: (Heard | undefined)[] = []; // by the position of the sender

  /**
   * @param views the caller gets views of received memory; else copies
   * @param isOver true when the caller wants to hear nothing more
   */
  constructor(onPiece: (event: PieceEvent) => void, views: boolean, isOver: () => boolean) {
    this.onPiece = onPiece;
    this.views = views;
    this.isOver = isOver;
  }

  /** Tells what is new of a request. @throws what the caller throws, or RdmaError for metadata that cannot be read */
  tell(joined: Joined): void {
    const streams = joined.streams ?? [];
    // Of an attempt on another route all begin again.
    for (let at = 0; at < this.heard.length; at++) {
      const heard = this.heard[at];
      if (heard === undefined || streams[at] === heard.stream) continue;
      this.heard[at] = undefined;
      if (heard.pieces.length > 0) {
        this.onPiece({ type: 'restarted', stage: heard.stage, instance: heard.instance });
      }
    }
    for (let at = 0; at < streams.length; at++) if (streams[at] !== undefined) this.tellOf(at, streams[at]!);
  }

  private tellOf(at: number, stream: StreamIn): void {
    for (;;) {
      const next = this.heard[at]?.pieces.length ?? 0;
      if (next >= stream.readable || this.isOver()) return;
      const input = stream.piece(next);
      const { stage, instance } = input;
      const piece = pieceOf(input, this.views);
      const heard = this.heard[at] ?? { stage, instance, stream, pieces: [] };
      heard.pieces.push(piece);
      this.heard[at] = heard;
      this.onPiece({ type: 'piece', stage, instance, ...piece });
    }
  }

  /** The pieces of a stream that was heard; undefined: nothing of it was. */
  piecesOf(stream: StreamIn): PipelinePiece[] | undefined {
    return this.heard.find((heard) => heard?.stream === stream)?.pieces;
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
