// What a chaos run is made of: the messages, what the consumer does with them, who is hit, when and how.
//
// Invariant: all of it follows from the seed; producer, consumer and checker compute the same message from its
// producer, incarnation and sequence, so none of them has to learn what was sent.

/** A number of 32 bits from others, each bit of which depends on each bit of them (the finalizer of MurmurHash3). */
export function hash(...parts: number[]): number {
  let x = 0x9e3779b9;
  for (const part of parts) {
    x = Math.imul(x ^ part, 0x85ebca6b);
    x ^= x >>> 13;
    x = Math.imul(x, 0xc2b2ae35);
    x ^= x >>> 16;
  }
  return x >>> 0;
}

/** The largest message that is pulled. */
export const MAX_PULLED_BYTES = 96 * 1024;
const HEAD_BYTES = 24;
const BODY_TAG = 77;

/** How a producer is set up. */
export interface ProducerShape {
  slots: number;
  dataBytes: number;
  checksum: boolean;
  inPlace: boolean;
  wait: 'adaptive' | 'event';
}

export function producerShape(seed: number, producer: number): ProducerShape {
  const draw = hash(seed, producer, 1);
  return {
    slots: [2, 4, 8, 16, 32][draw % 5]!,
    dataBytes: [1024, 4096, 16384][(draw >>> 4) % 3]!,
    checksum: ((draw >>> 8) & 1) === 0,
    inPlace: ((draw >>> 9) & 3) !== 0,
    wait: ((draw >>> 11) & 1) === 0 ? 'adaptive' : 'event',
  };
}

export type How = 'send' | 'parts' | 'reserve' | 'reserve more' | 'abort';

/** Answers how message `sequence` is made. */
export function howSent(seed: number, producer: number, incarnation: number, sequence: number): How {
  const draw = hash(seed, producer, incarnation, sequence, 2) % 16;
  if (draw < 6) return 'send';
  if (draw < 9) return 'parts';
  if (draw < 12) return 'reserve';
  return draw < 14 ? 'reserve more' : 'abort';
}

/** Length of message `sequence` in bytes: mostly short, at times exactly the lane, at times to be pulled. */
export function lengthOf(seed: number, producer: number, incarnation: number, sequence: number): number {
  const { dataBytes } = producerShape(seed, producer);
  const draw = hash(seed, producer, incarnation, sequence, 3);
  const any = hash(draw, 4);
  const kind = draw % 20;
  if (kind === 0) return 0;
  if (kind === 1) return 1 + (any % 30);
  if (kind === 2) return dataBytes;
  if (kind === 3) return dataBytes - 1;
  if (kind === 4) return dataBytes + 1 + (any % (MAX_PULLED_BYTES - dataBytes));
  return kind < 15 ? any % 512 : any % dataBytes;
}

const words = new Uint32Array(MAX_PULLED_BYTES / 4 + 1);
const bytes = new Uint8Array(words.buffer);

/**
 * The bytes of a message, in memory that the next call uses again. From 24 bytes up it begins with producer,
 * incarnation, sequence, length, and a checksum of the body; the body follows from all of them.
 */
export function messageBytes(seed: number, producer: number, incarnation: number, sequence: number): Uint8Array {
  const length = lengthOf(seed, producer, incarnation, sequence);
  let x = hash(seed, producer, incarnation, sequence, length, BODY_TAG);
  const count = Math.ceil(length / 4);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    words[i] = x;
    if (i >= HEAD_BYTES / 4) sum = (Math.imul(sum ^ x, 0x01000193) + i) >>> 0;
  }
  if (length >= HEAD_BYTES) {
    words[0] = producer;
    words[1] = incarnation;
    words[2] = sequence;
    words[3] = length;
    words[4] = sum;
    words[5] = hash(producer, incarnation, sequence, length, sum);
  }
  return bytes.subarray(0, length);
}

/** What is wrong with a message that arrived; undefined when every byte is as it was sent. */
export function whatIsWrong(
  seed: number,
  producer: number,
  incarnation: number,
  sequence: number,
  got: Uint8Array,
): string | undefined {
  const right = messageBytes(seed, producer, incarnation, sequence);
  if (Buffer.compare(right, got) === 0) return undefined;
  const at = right.findIndex((byte, i) => got[i] !== byte);
  const head = Array.from({ length: Math.min(6, got.length >>> 2) }, (_, i) =>
    Buffer.from(got.buffer, got.byteOffset).readUInt32LE(4 * i),
  );
  return `length ${got.length} of ${right.length}, first difference at ${at}, head ${head.join(' ')}`;
}

export type Handling = 'done' | 'hold' | 'acknowledge first' | 'release first';

/** What the consumer does with a message that lies in the lane. */
export function handlingOf(seed: number, producer: number, incarnation: number, sequence: number): Handling {
  const draw = hash(seed, producer, incarnation, sequence, 5) % 16;
  if (draw < 9) return 'done';
  if (draw < 13) return 'hold';
  return draw < 15 ? 'acknowledge first' : 'release first';
}

/** Who is hit, and how; -1 is the consumer. */
export interface Blow {
  victim: number;
  fault: 'kill' | 'stop' | 'stop and fence' | 'stop and kill' | 'drain';
  /** It comes when so many more messages have been delivered. */
  after: number;
  /** A stop lasts until so many more have been delivered; that of a consumer so many ms. */
  lasts: number;
}

/** Blow `n` of a run. */
export function planBlow(seed: number, n: number, producers: number, messagesBetween: number): Blow {
  const after = hash(seed, n, 7) % (2 * messagesBetween);
  if (hash(seed, n, 6) % 5 === 0) {
    const fault = (['kill', 'stop', 'drain', 'stop and kill', 'kill'] as const)[hash(seed, n, 11) % 5]!;
    return { victim: -1, fault, after, lasts: 1 + (hash(seed, n, 8) % 150) };
  }
  const fault = (['kill', 'stop', 'stop and fence', 'stop and kill', 'stop'] as const)[hash(seed, n, 11) % 5]!;
  const victim = hash(seed, n, 9) % producers;
  return { victim, fault, after, lasts: 1 + (hash(seed, n, 10) % (4 * messagesBetween)) };
}
