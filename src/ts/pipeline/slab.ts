// Memory for retained short messages: several copies in one piece of memory.
//
// A separate array buffer for each message costs an allocation outside of the heap, and its collection.
//
// Invariant: a copy is written once, when it is made, and no other copy shares its bytes. The piece is freed with the
// last view of it; nobody else can take it away (worker_threads, transfer lists).
import { markAsUntransferable } from 'node:worker_threads';
import { ALIGN_BYTES } from './envelope.js';

const SLAB_BYTES = 64 * 1024;
/** What is longer gets memory of its own. */
const MAX_SHARED_BYTES = 8 * 1024;

export class Slab {
  private buffer = new ArrayBuffer(0);
  private whole = new Uint8Array(this.buffer);
  private end = 0;

  /** A copy, which begins on a multiple of 64 in its buffer. */
  copy(bytes: Uint8Array): Uint8Array {
    const { length } = bytes;
    if (length > MAX_SHARED_BYTES) return bytes.slice();
    if (this.end + length > this.buffer.byteLength) this.renew();
    const at = this.end;
    this.end = (at + length + ALIGN_BYTES - 1) & -ALIGN_BYTES;
    this.whole.set(bytes, at);
    return new Uint8Array(this.buffer, at, length);
  }

  private renew(): void {
    this.buffer = new ArrayBuffer(SLAB_BYTES);
    markAsUntransferable(this.buffer);
    this.whole = new Uint8Array(this.buffer);
    this.end = 0;
  }
}
