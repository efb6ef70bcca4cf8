// The details of a handler's progress besides its share: a step, and a preview. They go to the gateway as notes of the
// kind PROGRESS, which begin as notes.ts says; a preview that is too long for one note goes in several, one after the
// other.
//
//   behind the record     0            4               8             12     13  16
//                         |step or ~0  |preview bytes  |piece begins |kind  | 0 |piece
//                         kind 0: no preview; 1: text in UTF-8; 2: bytes
//
// Invariant: notes come from another process; a note that is not of exactly this form is refused whole. A place sends
// the pieces of one preview together: a preview with a gap, because its lane was replaced, is dropped.
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject, invalidArgument } from '../core/validate.js';
import { Kind, refused } from './envelope.js';
import { HEAD_BYTES, type NoteHead, readReport, Report, REPORT_BYTES, writeHead, writeReport } from './notes.js';

/** The most bytes of a preview. */
export const MAX_PREVIEW_BYTES = 16_384;

/** What a handler may say beside how far it is. */
export interface ProgressDetails {
  /** Which step it has done, 0 to 2^32 - 2. */
  step?: number;
  /**
   * Something to look at meanwhile: text, or bytes such as a small picture; at most 16 KiB. It is dropped when the
   * gateway does not keep up.
   */
  preview?: string | Uint8Array;
}

/** One word of progress. */
export interface ProgressNote {
  readonly ticket: number;
  readonly attempt: number;
  /** 0 to 1. */
  readonly done: number;
  readonly step: number | undefined;
  readonly preview: string | Uint8Array | undefined;
}

const FIXED_BYTES = 16;
const PIECE_AT = HEAD_BYTES + REPORT_BYTES + FIXED_BYTES;
const NO_STEP = 0xffffffff;
const NONE = 0;
const TEXT = 1;
const BYTES = 2;
const NO_BYTES = new Uint8Array(0);
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Checks details. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_MESSAGE_TOO_LARGE for a preview */
export function checkDetails(input: ProgressDetails): ProgressDetails {
  const { step, preview } = checkObject<ProgressDetails>('the details of progress()', input);
  if (step !== undefined) checkInteger('step', step, 0, NO_STEP - 1);
  if (preview === undefined) return input;
  if (typeof preview !== 'string' && !(preview instanceof Uint8Array)) {
    throw invalidArgument('preview', preview, 'a string or a Uint8Array');
  }
  const bytes = typeof preview === 'string' ? Buffer.byteLength(preview, 'utf8') : preview.byteLength;
  if (bytes > MAX_PREVIEW_BYTES) {
    throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `a preview of ${bytes} bytes; at most ${MAX_PREVIEW_BYTES}`, {
      remedy: 'make it smaller, or send it as an output',
    });
  }
  return input;
}

/**
 * Encodes a word of progress.
 *
 * @param limitBytes bytes that a note may have, at least 128
 * @returns notes to be sent in this order
 */
export function encodeProgress(
  from: NoteHead,
  { ticket, attempt, done, step, preview }: ProgressNote,
  limitBytes: number,
): Uint8Array[] {
  const kind = preview === undefined ? NONE : typeof preview === 'string' ? TEXT : BYTES;
  const all = typeof preview === 'string' ? Buffer.from(preview, 'utf8') : (preview ?? NO_BYTES);
  const notes: Uint8Array[] = [];
  let at = 0;
  do {
    const piece = all.subarray(at, at + limitBytes - PIECE_AT);
    const bytes = new Uint8Array(PIECE_AT + piece.length);
    const view = new DataView(bytes.buffer);
    writeHead(view, Kind.PROGRESS, from);
    writeReport(view, HEAD_BYTES, Report.PROGRESS, ticket, attempt, 0, 0, done);
    view.setUint32(PIECE_AT - FIXED_BYTES, step ?? NO_STEP, true);
    view.setUint32(PIECE_AT - 12, all.length, true);
    view.setUint32(PIECE_AT - 8, at, true);
    view.setUint8(PIECE_AT - 4, kind);
    bytes.set(piece, PIECE_AT);
    notes.push(bytes);
    at += piece.length;
  } while (at < all.length);
  return notes;
}

/** A note as it was read. */
interface Piece {
  readonly ticket: number;
  readonly attempt: number;
  readonly done: number;
  readonly step: number | undefined;
  readonly kind: number;
  readonly total: number;
  readonly at: number;
  readonly bytes: Uint8Array;
}

function readPiece(bytes: Uint8Array, view: DataView): Piece {
  if (bytes.length < PIECE_AT) throw refused('a note of progress is too short');
  const { what, ticket, attempt, progress } = readReport(view, HEAD_BYTES);
  const step = view.getUint32(PIECE_AT - FIXED_BYTES, true);
  const total = view.getUint32(PIECE_AT - 12, true);
  const at = view.getUint32(PIECE_AT - 8, true);
  const kind = view.getUint8(PIECE_AT - 4);
  const piece = bytes.subarray(PIECE_AT);
  const isEmpty = total === 0 && piece.length === 0;
  const isInside = piece.length > 0 && at + piece.length <= total;
  if (what !== Report.PROGRESS || kind > BYTES || total > MAX_PREVIEW_BYTES || (kind === NONE && total > 0)) {
    throw refused('a note of progress is wrong');
  }
  if (!isInside && !(isEmpty && at === 0)) throw refused('a piece of a preview lies outside of it');
  return { ticket, attempt, done: progress, step: step === NO_STEP ? undefined : step, kind, total, at, bytes: piece };
}

function previewOf(kind: number, bytes: Uint8Array): string | Uint8Array | undefined {
  if (kind === NONE) return undefined;
  if (kind === BYTES) return bytes;
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'a preview is not text', { cause });
  }
}

/** Puts the pieces of previews together: of each place the last one, at most. */
export class Previews {
  private readonly begun = new Map<string, { first: Piece; bytes: Uint8Array; length: number }>(); // by place

  /**
   * Takes a note of the kind PROGRESS.
   *
   * @param from who has sent it
   * @returns what it completes; undefined: there is more to come, or it belongs to nothing
   * @throws RdmaError RDMA_ERR_PROTOCOL
   */
  take({ stage, instance }: NoteHead, bytes: Uint8Array, view: DataView): ProgressNote | undefined {
    const piece = readPiece(bytes, view);
    const place = `${stage}/${instance}`;
    if (piece.at === 0) {
      this.begun.delete(place);
      // Of the caller's own: the note is gone when this returns.
      if (piece.bytes.length === piece.total) return noteOf(piece, piece.bytes.slice());
      this.begun.set(place, { first: piece, bytes: new Uint8Array(piece.total), length: 0 });
    }
    const begun = this.begun.get(place);
    if (begun === undefined) return undefined;
    if (!isNext(begun.first, begun.length, piece)) {
      this.begun.delete(place);
      return undefined;
    }
    begun.bytes.set(piece.bytes, piece.at);
    begun.length += piece.bytes.length;
    if (begun.length < piece.total) return undefined;
    this.begun.delete(place);
    return noteOf(piece, begun.bytes);
  }
}

function isNext(first: Piece, length: number, { ticket, attempt, kind, total, at }: Piece): boolean {
  const isSame = ticket === first.ticket && attempt === first.attempt && kind === first.kind && total === first.total;
  return isSame && at === length;
}

function noteOf({ ticket, attempt, done, step, kind }: Piece, bytes: Uint8Array): ProgressNote {
  return { ticket, attempt, done, step, preview: previewOf(kind, bytes) };
}
