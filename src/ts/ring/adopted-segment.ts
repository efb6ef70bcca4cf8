// Mapped memory of another process, offered to receivers as if it belonged to this pool: bytes are handed on, not
// copied.
//
// Invariant: the memory stays with its first owner. References to it are valid while the message that brought it is
// held and not acknowledged; its key ends with the mapping.
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
