// The positions of messages in a ring of bytes.
//
// Invariant: positions follow each other in the order in which they are given, and a message is contiguous: one that
// does not fit before the end of the ring starts at 0, and the skipped bytes count as taken. Positions only grow, below
// 2^53; the offset in the ring is the position modulo its size. Both ends of a lane compute positions by these rules,
// so the consumer knows every offset beforehand. Nothing here divides: these are the innermost steps of sending.
import { alignedLength } from './layout.js';

const MAX_INT = 2 ** 31 - 1;

/**
 * `number % count`, for a number that only counts up, below 2^53. The operator is slow once the compiler has seen a
 * number there that may have a fraction: it then computes with doubles, in a loop.
 */
export function slotOf(number: number, count: number): number {
  if (number <= MAX_INT) return (number | 0) % count;
  const slot = number - Math.floor(number / count) * count;
  // The quotient may have been rounded up to the next whole number.
  return slot < 0 ? slot + count : slot;
}

export class Positions {
  /** Size of the ring. */
  readonly bytes: number;
  /** Position behind the last message. */
  tail = 0;
  private at = 0; // its offset, below `bytes`
  private readonly starts: Float64Array; // position of the message in each slot
  private readonly offsets: Float64Array;

  /** @param slots how many messages have a position at a time */
  constructor(slots: number, bytes: number) {
    this.bytes = bytes;
    this.starts = new Float64Array(slots);
    this.offsets = new Float64Array(slots);
  }

  /** The offset at which the next message begins, if it takes `space` bytes. */
  nextOffset(space: number): number {
    return this.at + alignedLength(space) > this.bytes ? 0 : this.at;
  }

  /** True when the next message may take `space` bytes, while those from slot `first` on are held; -1: none is. */
  fits(space: number, first: number): boolean {
    const size = alignedLength(space);
    const skipped = this.at + size > this.bytes ? this.bytes - this.at : 0;
    // Alone, it has the whole ring, wherever it begins.
    if (first < 0) return size <= this.bytes;
    return this.tail + skipped + size - this.starts[first]! <= this.bytes;
  }

  /** The next message takes `space` bytes, and is the one in `slot`. */
  put(slot: number, space: number): void {
    const size = alignedLength(space);
    const { bytes } = this;
    let { at, tail } = this;
    if (at + size > bytes) {
      tail += bytes - at;
      at = 0;
    }
    this.starts[slot] = tail;
    this.offsets[slot] = at;
    this.tail = tail + size;
    this.at = at + size === bytes ? 0 : at + size;
  }

  /** Where the message in `slot` begins in the ring. */
  offsetOf(slot: number): number {
    return this.offsets[slot]!;
  }

  /** The position of the message in `slot`; of slot -1, that of the next one. */
  startOf(slot: number): number {
    return slot < 0 ? this.tail : this.starts[slot]!;
  }

  /** Bytes that are taken from the message in slot `first` on; -1: none. */
  takenFrom(first: number): number {
    return this.tail - this.startOf(first);
  }
}
