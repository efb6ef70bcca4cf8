// The messages that a producer still holds: registered memory from which they are written, and written again after a
// reconnect.
//
// Invariant: a message keeps its place until it is acknowledged; the device reads from here, so nothing is moved or
// overwritten before. Sequences are given out here, 1, 2, 3 ... without a gap.
import { alignedLength, offsetIn, placeMessage } from './layout.js';
import type { PortMemory } from './port.js';

export class Retained {
  /** Last sequence given out. */
  last = 0;
  /** Everything up to here is forgotten. */
  acknowledged = 0;
  /** How many messages may be held. */
  readonly capacity: number;
  /** How many bytes they may take. */
  readonly bytes: number;
  readonly memory: PortMemory;
  private readonly base: number; // of the ring in the memory, in bytes
  private readonly view: Uint8Array;
  private readonly starts: Float64Array;
  private readonly lengths: Float64Array;
  private tail = 0;

  constructor(memory: PortMemory, base: number, bytes: number, capacity: number) {
    this.memory = memory;
    this.base = base;
    this.bytes = bytes;
    this.capacity = capacity;
    this.view = new Uint8Array(memory.buffer, base, bytes);
    this.starts = new Float64Array(capacity);
    this.lengths = new Float64Array(capacity);
  }

  /** Held messages. */
  get count(): number {
    return this.last - this.acknowledged;
  }

  /** True when a message of `length` bytes can be taken now. */
  fits(length: number): boolean {
    if (this.count >= this.capacity) return false;
    const start = placeMessage(this.tail, length, this.bytes);
    const oldest = this.count === 0 ? start : this.starts[(this.acknowledged + 1) % this.capacity]!;
    return start + alignedLength(length) - oldest <= this.bytes;
  }

  /** Makes room for a message that fits and answers its sequence; fill it with append(). */
  begin(length: number): number {
    const start = placeMessage(this.tail, length, this.bytes);
    const sequence = ++this.last;
    this.starts[sequence % this.capacity] = start;
    this.lengths[sequence % this.capacity] = length;
    this.tail = start + alignedLength(length);
    return sequence;
  }

  /** Copies `part` to `at` bytes behind the start of message `sequence`. */
  fill(sequence: number, at: number, part: Uint8Array): void {
    this.view.set(part, offsetIn(this.starts[sequence % this.capacity]!, this.bytes) + at);
  }

  lengthOf(sequence: number): number {
    return this.lengths[sequence % this.capacity]!;
  }

  /** Where the device reads message `sequence`. */
  addressOf(sequence: number): number {
    return this.memory.address + this.base + offsetIn(this.starts[sequence % this.capacity]!, this.bytes);
  }

  /** Forgets everything up to `sequence`; answers how many messages that were. */
  acknowledge(sequence: number): number {
    if (sequence <= this.acknowledged || sequence > this.last) return 0;
    const count = sequence - this.acknowledged;
    this.acknowledged = sequence;
    return count;
  }
}
