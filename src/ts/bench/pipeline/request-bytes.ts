// The bytes of a request, and how its result is checked.
//
// Invariant: a request is filled once and stamped with its number before each sending, in its first word, its last
// one and one in every 64 KiB between. A result is checked at all stamps, after its time was taken; the first of each
// buffer is checked byte for byte. Everyone who is compared does the same (the programs in C and Python by code of
// their own).
import { RdmaError } from '../../core/errors.js';

const WORD_BYTES = 4;
const STRIDE_BYTES = 64 * 1024;
/** Knuth's multiplicative hash: neighbouring places get words far apart. */
const SPREAD = 2_654_435_761;

export class RequestBytes {
  readonly bytes: Uint8Array;
  private readonly view: DataView;

  /** @param sizeBytes at least 8 */
  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.view = new DataView(this.bytes.buffer);
    for (let at = 0; at < sizeBytes; at++) this.bytes[at] = (at ^ (at >>> 8) ^ (at >>> 16)) & 0xff;
  }

  /** Writes the number of the request at each stamp. */
  stamp(number: number): void {
    const { view } = this;
    const last = view.byteLength - WORD_BYTES;
    for (let at = 0; at < last; at += STRIDE_BYTES) view.setUint32(at, wordOf(at, number), true);
    view.setUint32(last, wordOf(last, number), true);
  }

  /** @throws RdmaError RDMA_ERR_PROTOCOL when a result is not as long as this, or a stamp in it is another one's */
  checkStamps(result: Uint8Array | readonly Uint8Array[], number: number): void {
    const pieces = result instanceof Uint8Array ? [result] : result;
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const last = this.bytes.length - WORD_BYTES;
    if (length !== this.bytes.length) {
      const words = `a result of ${length} bytes came for a request of ${this.bytes.length}`;
      throw new RdmaError('RDMA_ERR_PROTOCOL', words);
    }
    let begin = 0;
    for (const piece of pieces) {
      const view = new DataView(piece.buffer, piece.byteOffset, piece.length);
      const end = begin + piece.length;
      const first = Math.ceil(begin / STRIDE_BYTES) * STRIDE_BYTES;
      // A stamp that two pieces share is checked byte for byte once, with the first result.
      for (let at = first; at < last && at + WORD_BYTES <= end; at += STRIDE_BYTES) checkWord(view, at, number, begin);
      if (begin <= last && end === length) checkWord(view, last, number, begin);
      begin = end;
    }
  }

  /** Compares every byte; the buffer has to be as it was sent. @throws as checkStamps() */
  checkAll(result: Uint8Array | readonly Uint8Array[], number: number): void {
    this.checkStamps(result, number);
    if (Buffer.compare(result instanceof Uint8Array ? result : Buffer.concat(result), this.bytes) !== 0) {
      throw new RdmaError('RDMA_ERR_PROTOCOL', `the result of request ${number} has other bytes than the request`);
    }
  }
}

function wordOf(at: number, number: number): number {
  return (number + Math.imul(at, SPREAD)) >>> 0;
}

// `begin`: which byte of the result is the first one of the view.
function checkWord(view: DataView, at: number, number: number, begin: number): void {
  const found = view.getUint32(at - begin, true);
  if (found === wordOf(at, number)) return;
  const words = `byte ${at} of a result is not that of request ${number}`;
  throw new RdmaError('RDMA_ERR_PROTOCOL', words);
}

/** The number that the first word of a request tells. */
export function numberIn(bytes: Uint8Array): number {
  return (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
}
