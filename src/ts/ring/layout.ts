// The layout of a lane and of its control block, and the words in them.
//
//   lane, at the consumer, one memory region                    control block, at the producer
//   | slot 0 | slot 1 | ... slot K-1 | data ring, M bytes |     | 64 bytes, written by the consumer |
//     a descriptor of 64 bytes each, and room for a short message behind it
//
//   descriptor   0     4           8        12       16     20    24         28         32..39     40   44      48      52..63
//                |epoch|kind, flags|seq low |seq high|offset|space|length low|length high|address  |rkey|payload|crc-32c|  -
//                                                     of what is pulled: where it lies at the producer |crc-32c|
//                the CRC-32C at 48 is that of the bytes before it, and of the CRC-32C of the words behind the descriptor that
//                hold the message, which is there when it is INLINE and else counts as 0
//   short        |epoch|kind, flags|seq low |seq high| (any)     |length|(any) ...
//                of a message that is SHORT: it lies behind the descriptor, and nothing else is said of it
//   control      0     4           8        12       16     20       24..47                                   48      52..63
//                |epoch|state      |released low/high|acknowledged l/h|(0)                                   |crc-32c|  -
//
// Invariant: what is read here came from another process and is believed only after its CRC, epoch and sequence
// agree; sequences start at 1 and stay below 2^53.
import { BLOCK_WORDS, BlockChecksum, crc32cOfWords } from './crc32c.js';

/** Bytes of a descriptor and of a control block. */
export const DESCRIPTOR_BYTES = 64;
/** The same in words: a message behind its descriptor begins there. */
export const DESCRIPTOR_WORDS = DESCRIPTOR_BYTES / 4;
/** Messages start on a multiple of this in the data ring, so that tensors in them can be viewed in place. */
export const MESSAGE_ALIGN_BYTES = 64;

// Once more as constants of this file: an exported name is looked up at each use.
const MESSAGE_WORD = DESCRIPTOR_WORDS;
const ALIGN_BYTES = MESSAGE_ALIGN_BYTES;
const CRC_WORD = BLOCK_WORDS;
/** Where a control block has its checksum, in words. */
export const CONTROL_CRC_WORD = CRC_WORD;
// The words of a descriptor, as drawn above; a number of two words has its upper word behind its lower.
const KIND_WORD = 1;
const SEQUENCE_WORD = 2;
const OFFSET_WORD = 4;
const SPACE_WORD = 5;
const LENGTH_WORD = 6;
const ADDRESS_WORD = 8;
const RKEY_WORD = 10;
const PAYLOAD_CRC_WORD = 11;
// The words of a control block.
const STATE_WORD = 1;
const RELEASED_WORD = 2;
const ACKNOWLEDGED_WORD = 4;
const CONTROL_END_WORD = 6;
const HIGH = 2 ** 32;
// Stores are seen in their order, and loads happen in theirs (Intel SDM volume 3, 9.2.2; AMD64 APM volume 2, 7.2).
// Elsewhere the two that matter are atomic ones, which order the others around them.
const STORES_IN_ORDER = process.arch === 'x64';
// One for what is written and one for what is read, so that each mostly meets neighbours.
const written = new BlockChecksum();
const read = new BlockChecksum();
// The largest length whose rounding up stays a 32-bit integer.
const MAX_INT_LENGTH = 2 ** 31 - ALIGN_BYTES;

/**
 * Kinds of message. DATA lies in the data ring; of PULL only the descriptor is here, the consumer READs the rest; SKIP
 * is a reservation that was given up, which the consumer passes over.
 */
export const MessageKind = { DATA: 1, SKIP: 2, PULL: 3 } as const;

/**
 * Flags of a descriptor. PAYLOAD_CRC: its payload's CRC-32C is there and must agree; INLINE: the message is behind the
 * descriptor in its slot, and takes no space in the data ring. SHORT: the same where the producer stores into the lane
 * itself and the inbox looks at it: there the order of stores says that all is there, and no checksum is needed.
 */
export const DescriptorFlags = { PAYLOAD_CRC: 1, INLINE: 2, SHORT: 4 } as const;
const { INLINE, SHORT } = DescriptorFlags;

/** Kind and flags of a short message, as one word. */
const SHORT_MESSAGE = MessageKind.DATA | (SHORT << 16);

/** What the consumer says about a lane in its control block. */
export const LaneState = { OPEN: 1, DRAINING: 2, CLOSED: 3 } as const;

/** The immediate of a batch: the lane in the upper 20 bits, how many messages in the lower 12. */
export const MAX_BATCH = 0xfff;
export const MAX_LANE_ID = 0xfffff;

/** READs of one lane that may be under way. */
export const PULL_DEPTH = 4;

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

/** Words that hold an inline message of `length` bytes. */
export function inlineWords(length: number): number {
  return (length + 3) >>> 2;
}

/** Bytes of the slot at word `at` that are used: its descriptor, and the message behind it. */
export function usedSlotBytes(words: Uint32Array, at: number): number {
  const isInline = ((words[at + KIND_WORD]! >>> 16) & INLINE) !== 0;
  return DESCRIPTOR_BYTES + (isInline ? inlineWords(words[at + LENGTH_WORD]!) * 4 : 0);
}

/**
 * Writes a descriptor, words starting at `at`. A message that is INLINE is there already, the last word filled up with
 * 0.
 */
export function encodeDescriptor(words: Uint32Array, at: number, epoch: number, descriptor: Descriptor): void {
  const { sequence, length, address } = descriptor;
  words[at] = epoch;
  words[at + KIND_WORD] = descriptor.kind | (descriptor.flags << 16);
  words[at + SEQUENCE_WORD] = sequence;
  words[at + SEQUENCE_WORD + 1] = highWord(sequence);
  words[at + OFFSET_WORD] = descriptor.offset;
  words[at + SPACE_WORD] = descriptor.space;
  words[at + LENGTH_WORD] = length;
  words[at + LENGTH_WORD + 1] = highWord(length);
  words[at + ADDRESS_WORD] = address;
  words[at + ADDRESS_WORD + 1] = highWord(address);
  words[at + RKEY_WORD] = descriptor.rkey;
  words[at + PAYLOAD_CRC_WORD] = descriptor.payloadCrc;
  const isInline = (descriptor.flags & INLINE) !== 0;
  const more = isInline ? crc32cOfWords(words, at + MESSAGE_WORD, inlineWords(length)) : 0;
  words[at + CRC_WORD] = written.of(words, at, more);
}

/**
 * Stores a descriptor, which is complete at `from`, where a peer looks for it. Its sequence comes last: a peer that
 * sees it sees all of the descriptor, and everything that was stored before.
 */
export function publishDescriptor(from: Uint32Array, fromAt: number, to: Uint32Array, at: number): void {
  to[at] = from[fromAt]!;
  to[at + KIND_WORD] = from[fromAt + KIND_WORD]!;
  for (let i = SEQUENCE_WORD + 1; i <= CRC_WORD; i++) to[at + i] = from[fromAt + i]!;
  const sequence = from[fromAt + SEQUENCE_WORD]!;
  if (STORES_IN_ORDER) to[at + SEQUENCE_WORD] = sequence;
  else Atomics.store(to, at + SEQUENCE_WORD, sequence);
}

/**
 * Stores the descriptor of a short message where a peer looks for it. The message is stored there already; the sequence
 * comes last, as in publishDescriptor().
 */
export function publishShort(to: Uint32Array, at: number, epoch: number, sequence: number, length: number): void {
  to[at] = epoch;
  to[at + KIND_WORD] = SHORT_MESSAGE;
  to[at + SEQUENCE_WORD + 1] = highWord(sequence);
  to[at + LENGTH_WORD] = length;
  if (STORES_IN_ORDER) to[at + SEQUENCE_WORD] = sequence;
  else Atomics.store(to, at + SEQUENCE_WORD, sequence);
}

/** True when the descriptor at word `at`, which shows its sequence, says that its message is SHORT. */
export function saysShort(words: Uint32Array, at: number): boolean {
  return ((words[at + KIND_WORD]! >>> 16) & SHORT) !== 0;
}

/**
 * Reads the descriptor of a short message, which shows the lower word of `sequence`.
 *
 * @returns the length of the message; -1 when it is not what publishShort() stores, or not 1 to `inlineBytes` long. It
 *   will not become right later, as the sequence was stored last
 */
export function shortLength(
  words: Uint32Array,
  at: number,
  epoch: number,
  sequence: number,
  inlineBytes: number,
): number {
  const length = words[at + LENGTH_WORD]!;
  const isRight =
    words[at] === epoch &&
    words[at + KIND_WORD] === SHORT_MESSAGE &&
    words[at + SEQUENCE_WORD + 1] === highWord(sequence);
  return isRight && length > 0 && length <= inlineBytes ? length : -1;
}

/**
 * True when the descriptor at word `at` is that of message `sequence`; whether it is right, decodeDescriptor() says.
 */
export function showsSequence(words: Uint32Array, at: number, sequence: number): boolean {
  const word = at + SEQUENCE_WORD;
  return (STORES_IN_ORDER ? words[word]! : Atomics.load(words, word)) === sequence >>> 0;
}

/**
 * Reads the descriptor at word `at`; false when its CRC or epoch is not right, and `into` is unchanged then. Of one
 * that is INLINE the message was checked with it.
 *
 * @param inlineBytes room for a message behind the descriptor
 */
export function decodeDescriptor(
  words: Uint32Array,
  at: number,
  epoch: number,
  inlineBytes: number,
  into: Descriptor,
): boolean {
  const kind = words[at + KIND_WORD]!;
  const length = words[at + LENGTH_WORD]!;
  const isInline = ((kind >>> 16) & INLINE) !== 0;
  if (isInline && length > inlineBytes) return false;
  const more = isInline ? crc32cOfWords(words, at + MESSAGE_WORD, inlineWords(length)) : 0;
  if (!readBlock(words, at, epoch, more)) return false;
  const block = read.words;
  // It may have been written meanwhile: what was checked must be what was looked at before.
  if (block[KIND_WORD]! >>> 0 !== kind || block[LENGTH_WORD]! >>> 0 !== length) return false;
  into.kind = block[KIND_WORD]! & 0xffff;
  into.flags = block[KIND_WORD]! >>> 16;
  into.sequence = whole(block, SEQUENCE_WORD);
  into.offset = block[OFFSET_WORD]! >>> 0;
  into.space = block[SPACE_WORD]! >>> 0;
  into.length = whole(block, LENGTH_WORD);
  into.address = whole(block, ADDRESS_WORD);
  into.rkey = block[RKEY_WORD]! >>> 0;
  into.payloadCrc = block[PAYLOAD_CRC_WORD]! >>> 0;
  return true;
}

// Reads a descriptor or control block into `read.words`; false when its checksum or epoch is not right.
function readBlock(words: Uint32Array, at: number, epoch: number, more: number): boolean {
  const crc = words[at + CRC_WORD]! | 0;
  return read.of(words, at, more) === crc && read.words[0]! >>> 0 === epoch;
}

// The number whose lower and upper word are at `low` and behind it.
function whole(block: Int32Array, low: number): number {
  const high = block[low + 1]!;
  return high === 0 ? block[low]! >>> 0 : (high >>> 0) * HIGH + (block[low]! >>> 0);
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
  words[at + STATE_WORD] = state;
  words[at + RELEASED_WORD] = released;
  words[at + RELEASED_WORD + 1] = highWord(released);
  words[at + ACKNOWLEDGED_WORD] = acknowledged;
  words[at + ACKNOWLEDGED_WORD + 1] = highWord(acknowledged);
  for (let i = CONTROL_END_WORD; i < CRC_WORD; i++) words[at + i] = 0;
  words[at + CRC_WORD] = written.of(words, at, 0);
}

/**
 * Reads a control block; false when its CRC or epoch is not right. A block may be read while the next one is being
 * written over it: that read fails its CRC, and the completion of the next write brings another look.
 */
export function decodeControl(words: Uint32Array, at: number, epoch: number, into: Control): boolean {
  if (!readBlock(words, at, epoch, 0)) return false;
  into.state = read.words[STATE_WORD]! >>> 0;
  into.released = whole(read.words, RELEASED_WORD);
  into.acknowledged = whole(read.words, ACKNOWLEDGED_WORD);
  return true;
}

/** `length` rounded up to the alignment of messages. */
export function alignedLength(length: number): number {
  if (length <= MAX_INT_LENGTH) return (length + ALIGN_BYTES - 1) & -ALIGN_BYTES;
  return Math.ceil(length / ALIGN_BYTES) * ALIGN_BYTES;
}
