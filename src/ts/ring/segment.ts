// One memory region of a pool, cut into blocks of one size.
//
// Invariant: `used` counts its allocated blocks; a segment is closed only while that is 0, or with its pool.
import type { PortMemory } from './port.js';
import type { SizeClass } from './size-class.js';

export class Segment {
  /** Unique in its pool, for ever. Keys and addresses may come again. */
  readonly number: number;
  /** The class of its blocks. */
  readonly blocks: SizeClass<Segment>;
  readonly data: Uint8Array;
  readonly address: number;
  readonly rkey: number;
  readonly bytes: number;
  /** Blocks that are allocated. */
  used = 0;
  /** How often it was found without a block since it had one. */
  idleTicks = 0;
  private readonly memory: PortMemory;

  constructor(number: number, blocks: SizeClass<Segment>, memory: PortMemory) {
    this.number = number;
    this.blocks = blocks;
    this.memory = memory;
    this.data = new Uint8Array(memory.buffer);
    this.bytes = memory.buffer.byteLength;
    this.address = memory.address;
    this.rkey = memory.rkey;
  }

  taken(): void {
    this.used++;
    this.idleTicks = 0;
  }

  given(): void {
    this.used--;
  }

  close(): void {
    this.memory.close();
  }
}
