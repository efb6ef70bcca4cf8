// The layout of a lane and of its control block, and the words in them.
//
//   lane, at the consumer, one memory region                    control block, at the producer
//   | slot 0 | slot 1 | ... slot K-1 | data ring, M bytes |     | 64 bytes, written by the consumer |
//     64 bytes each
//
//   descriptor   0     4           8        12       16     20    24         28         32..39     40   44      48  60
//                |epoch|kind, flags|seq low |seq high|offset|space|length low|length high|address  |rkey|payload|(0)|crc-32c|
//                                                     of what is pulled: where it lies at the producer |crc-32c|
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
const scratch = new Uint32Array(SLOT_WORDS);
// The largest length whose rounding up stays a 32-bit integer.
const MAX_INT_LENGTH = 2 ** 31 - MESSAGE_ALIGN_BYTES;

/**
 * Kinds of message. DATA lies in the data ring; of PULL only the descriptor is here, the consumer READs the rest; SKIP is
 * a place that was reserved and given up, which the consumer passes over.
 */
export const MessageKind = { DATA: 1, SKIP: 2, PULL: 3 } as const;

/** Flags of a descriptor. PAYLOAD_CRC: its payload's CRC-32C is there and must agree. */
export const DescriptorFlags = { PAYLOAD_CRC: 1 } as const;

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

/** A descriptor; one object is reused for all. */
export interface Descriptor {
  kind: number;
  flags: number;
  sequence: number;
  /** In the data ring. */
  offset: number;
  /** Bytes of the data ring that it takes, before rounding up: at least `length` of DATA, 0 of PULL. */
  space: number;
  /** Bytes of the message. */
  length: number;
  /** Of PULL: where it lies in the producer's memory, and the key of that. */
  address: number;
  rkey: number;
  /** With PAYLOAD_CRC. */
  payloadCrc: number;
}

/** A descriptor to be filled. */
export function emptyDescriptor(): Descriptor {
  return {
    kind: MessageKind.DATA,
    flags: 0,
    sequence: 0,
    offset: 0,
    space: 0,
    length: 0,
    address: 0,
    rkey: 0,
    payloadCrc: 0,
  };
}

/** Writes the descriptor of slot `slot`, words starting at `base`. */
export function encodeDescriptor(
  words: Uint32Array,
  base: number,
  slot: number,
  epoch: number,
  descriptor: Descriptor,
): void {
  const at = base + slot * SLOT_WORDS;
  const { sequence, length, address } = descriptor;
  words[at] = epoch;
  words[at + 1] = descriptor.kind | (descriptor.flags << 16);
  words[at + 2] = sequence;
  words[at + 3] = highWord(sequence);
  words[at + 4] = descriptor.offset;
  words[at + 5] = descriptor.space;
  words[at + 6] = length;
  words[at + 7] = highWord(length);
  words[at + 8] = address;
  words[at + 9] = highWord(address);
  words[at + 10] = descriptor.rkey;
  words[at + 11] = descriptor.payloadCrc;
  for (let i = 12; i < CRC_WORD; i++) words[at + i] = 0;
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
  // A copy first: the peer may write while the checksum is being computed.
  for (let i = 0; i < SLOT_WORDS; i++) scratch[i] = words[at + i]!;
  if ((scratch[CRC_WORD]! | 0) !== crc32c(scratch, 0, CRC_WORD) || scratch[0] !== epoch) return false;
  into.kind = scratch[1]! & 0xffff;
  into.flags = scratch[1]! >>> 16;
  into.sequence = scratch[3]! * HIGH + scratch[2]!;
  into.offset = scratch[4]!;
  into.space = scratch[5]!;
  into.length = scratch[7]! * HIGH + scratch[6]!;
  into.address = scratch[9]! * HIGH + scratch[8]!;
  into.rkey = scratch[10]!;
  into.payloadCrc = scratch[11]!;
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
  if ((scratch[CRC_WORD]! | 0) !== crc32c(scratch, 0, CRC_WORD) || scratch[0] !== epoch) return false;
  into.state = scratch[1]!;
  into.released = scratch[3]! * HIGH + scratch[2]!;
  into.acknowledged = scratch[5]! * HIGH + scratch[4]!;
  return true;
}

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
