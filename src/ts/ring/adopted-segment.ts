// Memory of another process that is mapped here, and offered to receivers as a pool's own: bytes are handed on, not
// copied.
//
// Invariant: it stays with its first owner. It may be referred to while the message that brought it is held and not
// acknowledged; its key ends with the mapping.
import type { MemoryReference } from './memory-reference.js';
import type { PortMemory } from './port.js';

/** Made by {@link MemoryPool.adopt}. */
export class AdoptedSegment {
  /** Its number in the pool. */
  readonly number: number;
  private readonly memory: PortMemory;
  private readonly bytes: number;

  /** @internal */
  constructor(number: number, memory: PortMemory) {
    this.number = number;
    this.memory = memory;
    this.bytes = memory.buffer.byteLength;
  }

  /** `length` bytes from `offset`; undefined when the mapping has ended. */
  bytesAt(offset: number, length: number): Uint8Array | undefined {
    const { buffer } = this.memory;
    return offset + length > buffer.byteLength ? undefined : new Uint8Array(buffer, offset, length);
  }

  /** What a message says of `length` bytes from `offset`, both inside the mapping. */
  reference(offset: number, length: number): MemoryReference {
    const { memory, number, bytes } = this;
    const { address, rkey } = memory;
    return {
      address: address + offset,
      rkey,
      length,
      segment: number,
      segmentAddress: address,
      segmentBytes: bytes,
    };
  }
}
