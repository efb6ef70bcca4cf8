// Memory of a peer on the same host, mapped here (soft devices).
//
// Invariant: `buffer` shows the peer's pages until close(), which detaches it; it never points at unmapped memory,
// whatever the peer does. What the peer stores may change at any moment between two looks.
import { shows } from './descriptors.js';
import { Resource } from './resource.js';
import type { ProtectionDomain } from './protection-domain.js';

/** Made by {@link QueuePair.mapRemote}; belongs to a protection domain, and outlives the queue pair. */
export class RemoteMapping extends Resource {
  /** The peer's memory. Detached (byteLength 0) by close(). */
  readonly buffer: ArrayBuffer;

  /** @internal */
  constructor(pd: ProtectionDomain, mapping: { handle: number; buffer: ArrayBuffer }) {
    super(mapping.handle, 'remote mapping', 'munmap', [pd]);
    this.buffer = mapping.buffer;
    shows(this.buffer, this);
  }
}
