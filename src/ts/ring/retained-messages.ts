// The unacknowledged messages of a producer: registered memory from which they are written, and written again after a
// reconnect.
//
// Invariant: a message keeps its space here until it is acknowledged; the device reads from it, so nothing is moved or
// overwritten before. Sequences are assigned here: 1, 2, 3 ... without a gap. A message whose bytes lie elsewhere (in
// the lane, or in a payload of its own) still has space here, so its bytes can be copied here at any time.
import { Positions, slotOf } from './positions.js';
import type { PortMemory } from './port.js';

/** OPEN is being built; READY can be sent; GIVEN_UP is sent as a message to be skipped. */
export const Phase = { OPEN: 0, READY: 1, GIVEN_UP: 2 } as const;

/** Where the bytes of a message are: here, in the lane of the present connection, or in a payload that is pulled. */
export const Home = { RETAINED: 0, LANE: 1, PAYLOAD: 2 } as const;

// As constants of this file: an exported name is looked up at each use.
const { OPEN, READY, GIVEN_UP } = Phase;
const { RETAINED } = Home;

export class RetainedMessages {
  /** Last sequence given out. */
  last = 0;
  /** Everything up to here is forgotten. */
  acknowledged = 0;
  /** How many messages may be held. */
  readonly capacity: number;
  /** How many bytes they may take. */
  readonly bytes: number;
  readonly memory: PortMemory;
  /** All of the memory, as bytes and as words. */
  readonly data: Uint8Array;
  readonly words: Int32Array;
  private readonly positions: Positions;
  private readonly spaces: Float64Array;
  private readonly lengths: Float64Array;
  private readonly phases: Uint8Array;
  private readonly homes: Uint8Array;
  private readonly crcs: Uint32Array;
  private readonly times: Float64Array;

  constructor(memory: PortMemory, bytes: number, capacity: number) {
    this.memory = memory;
    this.bytes = bytes;
    this.capacity = capacity;
    this.data = new Uint8Array(memory.buffer, 0, bytes);
    this.words = new Int32Array(memory.buffer, 0, bytes / 4);
    this.positions = new Positions(capacity, bytes);
    this.spaces = new Float64Array(capacity);
    this.lengths = new Float64Array(capacity);
    this.phases = new Uint8Array(capacity);
    this.homes = new Uint8Array(capacity);
    this.crcs = new Uint32Array(capacity);
    this.times = new Float64Array(capacity);
  }

  // Slot of the oldest message that is held; -1: none is.
  private get first(): number {
    return this.last === this.acknowledged ? -1 : slotOf(this.acknowledged + 1, this.capacity);
  }

  /** Held messages. */
  get count(): number {
    return this.last - this.acknowledged;
  }

  /** Bytes that they take. */
  get heldBytes(): number {
    return this.positions.takenFrom(this.first);
  }

  /** True when a message of `length` bytes can be taken now. */
  fits(length: number): boolean {
    if (this.count >= this.capacity) return false;
    return this.positions.fits(length, this.first);
  }

  /**
   * Makes room for a message that fits and answers its sequence. It is OPEN until ready() or giveUp().
   *
   * @param space bytes that it may take at most
   * @param now for its age, in ms
   */
  begin(space: number, home: number, now: number): number {
    const sequence = ++this.last;
    const at = slotOf(sequence, this.capacity);
    this.positions.put(at, space);
    this.spaces[at] = space;
    this.lengths[at] = space;
    this.phases[at] = OPEN;
    this.homes[at] = home;
    this.crcs[at] = 0;
    this.times[at] = now;
    return sequence;
  }

  /**
   * Takes a message that fits, as a whole: what begin(), fill() and ready() do.
   *
   * @param now for its age, in ms
   */
  take(bytes: Uint8Array, now: number): void {
    const at = slotOf(++this.last, this.capacity);
    const { length } = bytes;
    this.positions.put(at, length);
    this.data.set(bytes, this.positions.offsetOf(at));
    this.spaces[at] = length;
    this.lengths[at] = length;
    this.phases[at] = READY;
    this.homes[at] = RETAINED;
    this.crcs[at] = 0;
    this.times[at] = now;
  }

  /** The message is built, and this long. */
  ready(sequence: number, length: number, crc: number): void {
    const at = slotOf(sequence, this.capacity);
    this.lengths[at] = length;
    this.crcs[at] = crc;
    this.phases[at] = READY;
  }

  giveUp(sequence: number): void {
    const at = slotOf(sequence, this.capacity);
    this.lengths[at] = 0;
    this.phases[at] = GIVEN_UP;
  }

  /** Copies `part` to `at` bytes behind the start of message `sequence`. */
  fill(sequence: number, at: number, part: Uint8Array): void {
    this.data.set(part, this.offsetOf(sequence) + at);
  }

  /** The bytes from lane or payload are here from now on. */
  bring(sequence: number, bytes: Uint8Array): void {
    this.fill(sequence, 0, bytes);
    this.homes[slotOf(sequence, this.capacity)] = RETAINED;
  }

  phaseOf(sequence: number): number {
    return this.phases[slotOf(sequence, this.capacity)]!;
  }

  homeOf(sequence: number): number {
    return this.homes[slotOf(sequence, this.capacity)]!;
  }

  spaceOf(sequence: number): number {
    return this.spaces[slotOf(sequence, this.capacity)]!;
  }

  lengthOf(sequence: number): number {
    return this.lengths[slotOf(sequence, this.capacity)]!;
  }

  crcOf(sequence: number): number {
    return this.crcs[slotOf(sequence, this.capacity)]!;
  }

  /** When it was taken, in ms. */
  timeOf(sequence: number): number {
    return this.times[slotOf(sequence, this.capacity)]!;
  }

  /** Where message `sequence` begins in {@link RetainedMessages.memory}. */
  offsetOf(sequence: number): number {
    return this.positions.offsetOf(slotOf(sequence, this.capacity));
  }

  /** The bytes of a message, as a view; undefined when it is not held, not complete, or its bytes are elsewhere. */
  bytesOf(sequence: number): Uint8Array | undefined {
    if (sequence <= this.acknowledged || sequence > this.last) return undefined;
    if (this.homeOf(sequence) !== RETAINED || this.phaseOf(sequence) !== READY) return undefined;
    const from = this.offsetOf(sequence);
    return this.data.subarray(from, from + this.lengthOf(sequence));
  }

  /** How many messages after `sequence` are complete, and not acknowledged. */
  readyAfter(sequence: number): number {
    let count = 0;
    for (let each = Math.max(sequence, this.acknowledged) + 1; each <= this.last; each++) {
      if (this.phaseOf(each) === READY) count++;
    }
    return count;
  }

  /** The last message that is complete and not acknowledged; if there is none, the last one that was acknowledged. */
  get lastReady(): number {
    let sequence = this.last;
    while (sequence > this.acknowledged && this.phaseOf(sequence) !== READY) sequence--;
    return sequence;
  }

  /** Forgets everything up to `sequence`; answers how many messages that were. */
  acknowledge(sequence: number): number {
    if (sequence <= this.acknowledged || sequence > this.last) return 0;
    const count = sequence - this.acknowledged;
    this.acknowledged = sequence;
    return count;
  }
}
