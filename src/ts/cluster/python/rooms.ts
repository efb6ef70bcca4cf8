// Shared memory for what lies in no memory that can be shared: small tensors of messages, and what was READ.
//
// Invariant: a room belongs to one task until that gives it back, and the idle ones are bounded. What a task leaves in
// it was copied before it goes to the next one.
import { closeSync } from 'node:fs';
import type { Pages } from '../../verbs/descriptors.js';
import { createSharedMemory, releaseSharedMemory } from '../../verbs/shared-memory.js';

/** Shared memory of this process. */
export interface Room {
  readonly buffer: ArrayBuffer;
  readonly pages: Pages;
}

const SMALLEST_BYTES = 64 * 1024;
const LARGEST_BYTES = 2 ** 30;
/** What is kept for later tasks. */
const IDLE_BYTES = 64 * 2 ** 20;

export class Rooms {
  private idle: Room[] = []; // the one that was used last is at the end
  private idleBytes = 0;

  /** @param bytes at least so many @throws RdmaError ENOMEM; EMFILE; RDMA_ERR_INVALID_ARGUMENT for more than 1 GiB */
  take(bytes: number): Room {
    for (let i = this.idle.length - 1; i >= 0; i--) {
      const room = this.idle[i]!;
      if (room.buffer.byteLength < bytes) continue;
      this.idle.splice(i, 1);
      this.idleBytes -= room.buffer.byteLength;
      return room;
    }
    return makeRoom(bytes);
  }

  give(room: Room): void {
    this.idle.push(room);
    this.idleBytes += room.buffer.byteLength;
    while (this.idleBytes > IDLE_BYTES && this.idle.length > 0) {
      const oldest = this.idle.shift()!;
      this.idleBytes -= oldest.buffer.byteLength;
      closeRoom(oldest);
    }
  }

  close(): void {
    for (const room of this.idle) closeRoom(room);
    this.idle = [];
    this.idleBytes = 0;
  }
}

/** @throws as Rooms.take */
export function makeRoom(bytes: number): Room {
  const wanted = Math.max(SMALLEST_BYTES, 2 ** Math.ceil(Math.log2(Math.max(1, bytes))));
  const { fd, buffer } = createSharedMemory(bytes <= LARGEST_BYTES ? Math.min(wanted, LARGEST_BYTES) : bytes);
  return { buffer, pages: { fd, offset: 0 } };
}

export function closeRoom(room: Room): void {
  closeSync(room.pages.fd);
  releaseSharedMemory(room.buffer);
}
