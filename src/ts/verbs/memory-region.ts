// A memory region: registered memory that the library owns, shown as an ArrayBuffer.
//
// Invariant: the memory outlives every view that can reach it: close() detaches the ArrayBuffer first, so a view kept
// too long has length 0 and never points at freed memory.
import { errnoError } from '../core/errors.js';
import { native, type NativeMemory } from './native.js';
import type { ProtectionDomain } from './protection-domain.js';
import { Resource } from './resource.js';

/** Registered memory. Made by {@link ProtectionDomain.registerMemory}. */
export class MemoryRegion extends Resource {
  /** The memory. Detached (byteLength 0) by close(). */
  readonly buffer: ArrayBuffer;
  /** Where it starts, for work requests: `address + offset`. A whole number below 2^53. */
  readonly address: number;
  /** Its size in bytes. */
  readonly byteLength: number;
  /** The key for local work requests. */
  readonly lkey: number;
  /** The key for peers. Whoever has it, and a connected queue pair, can use the memory as its access flags allow. */
  readonly rkey: number;

  /** @internal */
  constructor(pd: ProtectionDomain, memory: NativeMemory) {
    super(memory.handle, 'memory region', 'ibv_dereg_mr', [pd]);
    this.buffer = memory.buffer;
    this.address = memory.address;
    this.byteLength = memory.buffer.byteLength;
    this.lkey = memory.lkey;
    this.rkey = memory.rkey;
  }

  /**
   * Revokes both keys and keeps the memory readable for its owner. When this has returned, no peer can change the
   * memory any more, a peer that was stopped in the middle of a write included.
   *
   * @throws RdmaError EBUSY when that cannot be proved yet (a peer stands in the middle of a copy): the keys are dead,
   *   but the memory must not be reused; call again later, or close()
   * @see ibv_dereg_mr(3); IBTA 10.6.7 on invalidation
   */
  deregister(): void {
    const rc = native().deregisterMemory(this.handle);
    if (rc !== 0) throw errnoError(rc, 'ibv_dereg_mr');
  }
}
