// The layout of a lane and of its control block, and the words in them.
//
//   lane, at the consumer, one memory region                    control block, at the producer
//   | slot 0 | slot 1 | ... slot K-1 | data ring, M bytes |     | 64 bytes, written by the consumer |
//     64 bytes each
//
//   descriptor   0     4           8        12       16     20       24     28       32..59      60
//                |epoch|kind, flags|seq low |seq high|offset|reserved|length|reserved|(pull: 0)  |crc-32c|
//   control      0     4           8        12       16     20       24..59                      60
//                |epoch|state      |released low/high|acknowledged l/h|(0)                       |crc-32c|
//
// Invariant: what is read here came from another process and is believed only after its CRC, epoch and sequence
// agree; sequences start at 1 and stay below 2^53.
import { crc32c } from './crc32c.js';

/** Bytes of a descriptor and of a control block. */
export const SLOT_BYTES = 64;
/** Messages start on a multiple of this in the data ring, so that tensors in them can be viewed in place. */
export const MESSAGE_ALIGN_BYTES = 64;

const SLOT_WORDS = SLOT_BYTES / 4;
const CRC_WORD = 15;
const HIGH = 2 ** 32;
// The largest length whose rounding up stays a 32-bit integer.
const MAX_INT_LENGTH = 2 ** 31 - MESSAGE_ALIGN_BYTES;

/** Kinds of message. Pulled messages come later (docs/ring.md). */
export const MessageKind = { DATA: 1 } as const;

/** What the consumer says about a lane in its control block. */
export const LaneState = { OPEN: 1, DRAINING: 2, CLOSED: 3 } as const;

/** The immediate of a batch: the lane in the upper 20 bits, how many messages in the lower 12. */
export const MAX_BATCH = 0xfff;
export const MAX_LANE_ID = 0xfffff;

export function laneImm(lane: number, count: number): number {
  return ((lane << 12) | count) >>> 0;
}
export function laneOfImm(imm: number): number {
  return imm >>> 12;
}
export function countOfImm(imm: number): number {
  return imm & MAX_BATCH;
}

// A store into a Uint32Array keeps the lower 32 bits of any whole number; this is what it leaves out.
function highWord(value: number): number {
  return value < HIGH ? 0 : (value - (value >>> 0)) / HIGH;
}

/** A decoded descriptor; one object is reused for all. */
export interface Descriptor {
  kind: number;
  sequence: number;
  offset: number;
  length: number;
}

/** Writes the descriptor of slot `slot`, words starting at `base`. */
export function encodeDescriptor(
  words: Uint32Array,
  base: number,
  slot: number,
  epoch: number,
  sequence: number,
  offset: number,
  length: number,
): void {
  const at = base + slot * SLOT_WORDS;
  words[at] = epoch;
  words[at + 1] = MessageKind.DATA;
  words[at + 2] = sequence;
  words[at + 3] = highWord(sequence);
  words[at + 4] = offset;
  words[at + 5] = 0;
  words[at + 6] = length;
  for (let i = 7; i < CRC_WORD; i++) words[at + i] = 0;
  words[at + CRC_WORD] = crc32c(words, at, CRC_WORD);
}

/** Reads slot `slot`; false when its CRC or epoch is not right, and `into` is unchanged then. */
export function decodeDescriptor(
  words: Uint32Array,
  base: number,
  slot: number,
  epoch: number,
  into: Descriptor,
): boolean {
  const at = base + slot * SLOT_WORDS;
  if (words[at + CRC_WORD] !== crc32c(words, at, CRC_WORD) || words[at] !== epoch) return false;
  into.kind = words[at + 1]!;
  into.sequence = words[at + 3]! * HIGH + words[at + 2]!;
  into.offset = words[at + 4]!;
  into.length = words[at + 6]!;
  return true;
}

/** A decoded control block; one object is reused for all. */
export interface Control {
  state: number;
  released: number;
  acknowledged: number;
}

/** Writes a control block, words starting at `at`. */
export function encodeControl(
  words: Uint32Array,
  at: number,
  epoch: number,
  state: number,
  released: number,
  acknowledged: number,
): void {
  words[at] = epoch;
  words[at + 1] = state;
  words[at + 2] = released;
  words[at + 3] = highWord(released);
  words[at + 4] = acknowledged;
  words[at + 5] = highWord(acknowledged);
  for (let i = 6; i < CRC_WORD; i++) words[at + i] = 0;
  words[at + CRC_WORD] = crc32c(words, at, CRC_WORD);
}

/**
 * Reads a control block; false when its CRC or epoch is not right. A block may be read while the next one is being
 * written over it: that read fails its CRC, and the completion of the next write brings another look.
 */
export function decodeControl(words: Uint32Array, at: number, epoch: number, into: Control): boolean {
  // A copy first: the peer may write while the checksum is being computed.
  for (let i = 0; i < SLOT_WORDS; i++) scratch[i] = words[at + i]!;
  if (scratch[CRC_WORD] !== crc32c(scratch, 0, CRC_WORD) || scratch[0] !== epoch) return false;
  into.state = scratch[1]!;
  into.released = scratch[3]! * HIGH + scratch[2]!;
  into.acknowledged = scratch[5]! * HIGH + scratch[4]!;
  return true;
}

const scratch = new Uint32Array(SLOT_WORDS);

/** `length` rounded up to the alignment of messages. */
export function alignedLength(length: number): number {
  if (length <= MAX_INT_LENGTH) return (length + MESSAGE_ALIGN_BYTES - 1) & -MESSAGE_ALIGN_BYTES;
  return Math.ceil(length / MESSAGE_ALIGN_BYTES) * MESSAGE_ALIGN_BYTES;
}

/**
 * The offset of `position` in a ring: `position % ringBytes`, which for numbers beyond 2^31 is a call into the C
 * library, here in two divisions' time. Exact for whole numbers below 2^53.
 */
export function offsetIn(position: number, ringBytes: number): number {
  const offset = position - Math.floor(position / ringBytes) * ringBytes;
  // The quotient may have been rounded up to the next whole number.
  return offset < 0 ? offset + ringBytes : offset;
}

/**
 * Where a message of `length` bytes starts in a ring of `ringBytes`, when the messages before it end at `tail`. A
 * message is contiguous: what does not fit before the end starts again at 0. Positions only grow; the offset in the
 * ring is the position modulo `ringBytes`. Both sides compute this, so the consumer knows every offset beforehand.
 *
 * @returns the position of its first byte
 */
export function placeMessage(tail: number, length: number, ringBytes: number): number {
  const at = offsetIn(tail, ringBytes);
  return at + alignedLength(length) > ringBytes ? tail + ringBytes - at : tail;
}
