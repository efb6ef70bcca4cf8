// The memory of the two rivals: one double ring at the consumer that all producers share.
//
//   0      8      16     24      64                         64 + 64 K            64 + 64 K + M
//   | lock | head | tail | (0)   | size ring, K descriptors | data ring, M bytes |
//
//   lock        0: free; else owner in the upper 32 bits, a number that no other acquisition has in the lower
//   head, tail  next message in the upper 32 bits, position of its bytes in the lower: one compare-and-swap moves both
//   descriptor  message, position, length, producer, the producer's sequence, CRC-32C of the bytes; CRC-32C of these
//
// Invariant: positions only grow within a trial, far below 2^32; bytes lie at the position modulo M.
import { crc32cOf } from '../../../src/ts/verbs/index.js';
import { LANE_BYTES, LANE_SLOTS, PRODUCERS } from './workload.js';

export const LOCK_AT = 0;
export const HEAD_AT = 8;
export const TAIL_AT = 16;
export const HEADER_BYTES = 64;
export const SLOT_BYTES = 64;
export const SLOTS = PRODUCERS * LANE_SLOTS;
export const DATA_BYTES = PRODUCERS * LANE_BYTES;
export const DATA_AT = HEADER_BYTES + SLOTS * SLOT_BYTES;
export const RING_BYTES = DATA_AT + DATA_BYTES;

const CRC_AT = 24;

/** Two 32-bit numbers as one word. */
export const pack = (high: number, low: number): bigint => (BigInt(high) << 32n) | BigInt(low);
export const highOf = (word: bigint): number => Number(word >> 32n);
export const lowOf = (word: bigint): number => Number(word & 0xffffffffn);

/** Where a message of `length` bytes lies whose predecessor ends at `position`: in one piece. */
export function place(position: number, length: number): number {
  const at = position % DATA_BYTES;
  return at + length > DATA_BYTES ? position + DATA_BYTES - at : position;
}

export interface Entry {
  index: number;
  position: number;
  length: number;
  producer: number;
  sequence: number;
  crc: number;
}

export function writeEntry(view: DataView, at: number, entry: Entry): void {
  const { index, position, length, producer, sequence, crc } = entry;
  for (const [i, word] of [index, position, length, producer, sequence, crc].entries()) {
    view.setUint32(at + 4 * i, word, true);
  }
  view.setUint32(at + CRC_AT, crcOf(view, at, CRC_AT), true);
}

/** The descriptor at `at`; undefined when it is not whole. */
export function readEntry(view: DataView, at: number): Entry | undefined {
  if (view.getUint32(at + CRC_AT, true) !== crcOf(view, at, CRC_AT)) return undefined;
  const word = (i: number) => view.getUint32(at + 4 * i, true);
  return { index: word(0), position: word(1), length: word(2), producer: word(3), sequence: word(4), crc: word(5) };
}

function crcOf(view: DataView, at: number, length: number): number {
  return crc32cOf(new Uint8Array(view.buffer), view.byteOffset + at, length);
}
