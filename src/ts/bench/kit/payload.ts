// The bytes of a message in the benchmarks of rings and their peers: how they are written, read and checked.
//
// Invariant: all subjects whose figures are compared write and read in the same way. All bytes of a message are equal
// and neighbouring rounds differ in magnitude, so reading a message finds one word of another round, or one too few.
import { RdmaError } from '../../core/errors.js';

/** So many bytes from FIRST_PATTERN on: each, eight times over, is a normal double of its own magnitude. */
export const PATTERNS = 64;
const FIRST_PATTERN = 0x20;
const WORD_BYTES = 8;
const STEP_BYTES = 4 * WORD_BYTES;
/** Half of the distance between 1 and the next double. */
const ROUNDING = 2 ** -53;

const words = new DataView(new ArrayBuffer(WORD_BYTES));

function wordOf(byte: number): number {
  for (let i = 0; i < WORD_BYTES; i++) words.setUint8(i, byte);
  return words.getFloat64(0, true);
}

/** The byte that a message of this round is made of. */
export function patternOf(round: number): number {
  return FIRST_PATTERN + (round % PATTERNS);
}

/** The round below PATTERNS of a message that begins with this byte. */
export function roundOf(byte: number): number {
  return byte - FIRST_PATTERN;
}

/** Writes every byte of a message, which is `bytes`, or a part of them. */
export function writeMessage(bytes: Uint8Array, round: number, from = 0, to = bytes.length): void {
  bytes.fill(patternOf(round), from, to);
}

/**
 * Reads every byte of a message, as 64-bit words whatever its alignment, and returns their sum. Bytes left over at the
 * end are read as a whole word, with the bytes before them. Of the ways that JavaScript has this was the fastest: 17 to
 * 19 GB/s where the tests were written.
 */
export function readMessage(view: DataView, from: number, length: number): number {
  if (length < WORD_BYTES) return readBytes(view, from, length);
  const end = from + length;
  const sum = readWords(view, from, end);
  return length % WORD_BYTES === 0 ? sum : sum + view.getFloat64(end - WORD_BYTES, true);
}

function readBytes(view: DataView, from: number, length: number): number {
  let sum = 0;
  for (let at = from; at < from + length; at++) sum += view.getUint8(at);
  return sum;
}

// A function of its own, so that the compiler keeps the four sums in registers: with anything else around the loop they
// become objects, and it takes six times as long.
function readWords(view: DataView, from: number, end: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let at = from;
  for (; at + STEP_BYTES <= end; at += STEP_BYTES) {
    a += view.getFloat64(at, true);
    b += view.getFloat64(at + 8, true);
    c += view.getFloat64(at + 16, true);
    d += view.getFloat64(at + 24, true);
  }
  for (; at + WORD_BYTES <= end; at += WORD_BYTES) a += view.getFloat64(at, true);
  return a + b + c + d;
}

/** @throws RdmaError RDMA_ERR_PROTOCOL when `sum` is not that of `length` bytes of the round, beyond rounding */
export function checkSum(sum: number, length: number, round: number): void {
  const byte = patternOf(round);
  const count = Math.ceil(length / WORD_BYTES);
  const expected = length < WORD_BYTES ? length * byte : count * wordOf(byte);
  // Up to 1 GiB, one word of another round differs by more than this; the sums of a quarter each err by half of it.
  const tolerance = expected * (count / 4 + 16) * 1.5 * ROUNDING;
  if (!(Math.abs(sum - expected) <= tolerance)) throw notTheMessage(length, round);
}

/** Looks at the first and the last byte only. @throws RdmaError RDMA_ERR_PROTOCOL */
export function checkEnds(first: number, last: number, length: number, round: number): void {
  const byte = patternOf(round);
  if (first !== byte || last !== byte) throw notTheMessage(length, round);
}

function notTheMessage(length: number, round: number): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', `message ${round} of ${length} bytes is not what was sent`);
}
