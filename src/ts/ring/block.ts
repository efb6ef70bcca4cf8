// A piece of registered memory that messages refer to.
//
// Invariant: a block is one allocation: after its last release it never refers to memory again, whatever the memory is
// used for next.
import { RdmaError } from '../core/errors.js';
import type { MemoryReference } from './memory-reference.js';
import type { Segment } from './segment.js';

/** Gets the memory back. @internal */
export interface BlockOwner {
  freed(segment: Segment, offset: number): void;
}

/** Made by {@link MemoryPool.allocate}. What a message says of it is a {@link MemoryReference}, which it is itself. */
export class Block implements MemoryReference {
  /** The whole segment, in which the block begins at {@link Block.offset}: for loops that make no views. */
  readonly data: Uint8Array;
  /** A multiple of 64. */
  readonly offset: number;
  /** Its length in bytes, as it was asked for. */
  readonly length: number;
  private readonly owner: BlockOwner;
  private readonly of: Segment;
  private view: Uint8Array | undefined;
  private references = 1;

  /** @internal */
  constructor(owner: BlockOwner, segment: Segment, offset: number, length: number) {
    this.owner = owner;
    this.of = segment;
    this.data = segment.data;
    this.offset = offset;
    this.length = length;
  }

  /** Exactly the bytes that were asked for. Length 0 after the pool was closed. */
  get bytes(): Uint8Array {
    this.view ??= this.data.subarray(this.offset, this.offset + this.length);
    return this.view;
  }

  /** Where it begins, for work requests of peers. */
  get address(): number {
    return this.of.address + this.offset;
  }

  /** The key with which peers reach it. */
  get rkey(): number {
    return this.of.rkey;
  }

  /** Number of its segment, which no other segment of the pool ever has. */
  get segment(): number {
    return this.of.number;
  }

  /** Where its segment begins. */
  get segmentAddress(): number {
    return this.of.address;
  }

  /** Length of its segment in bytes. */
  get segmentBytes(): number {
    return this.of.bytes;
  }

  /** One more owner. @throws RdmaError RDMA_ERR_CLOSED when it has none any more */
  retain(): void {
    this.check();
    this.references++;
  }

  /** One owner less; the last one gives the memory back. @throws RdmaError RDMA_ERR_CLOSED when it has none any more */
  release(): void {
    this.check();
    if (--this.references === 0) this.owner.freed(this.of, this.offset);
  }

  private check(): void {
    if (this.references === 0) throw new RdmaError('RDMA_ERR_CLOSED', 'the block was released for the last time');
  }
}
