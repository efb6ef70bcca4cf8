// A memory region: registered memory of the library's, of a caller's Buffer, of another device (dma-buf), or of a peer.
//
// Invariant: the memory outlives every view that can reach it: close() detaches the library's ArrayBuffer first, so a
// view kept too long has length 0 and never points at freed memory; a caller's ArrayBuffer is held, and cannot be
// transferred away, for as long as it is registered.
import { errnoError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import { shows } from './descriptors.js';
import { native, type NativeKeys } from '../addon/native.js';
import type { ProtectionDomain } from './protection-domain.js';
import type { RemoteMapping } from './remote-mapping.js';
import { Resource } from './resource.js';
import type { ScatterGather } from './work-requests.js';

/** Registered memory. Made by {@link ProtectionDomain.registerMemory} and {@link ProtectionDomain.registerMapping}. */
export class MemoryRegion extends Resource {
  /**
   * The memory. The library's is detached (byteLength 0) by close(). Of a caller's Buffer this is its ArrayBuffer, of
   * which the region is a part; of a dma-buf it is empty; of a peer's memory it is the mapping's. See {@link bytes}.
   */
  readonly buffer: ArrayBuffer;
  /** Where it starts, for work requests: `address + offset`. A whole number below 2^53. */
  readonly address: number;
  /** Its size in bytes. */
  readonly byteLength: number;
  private keys: { lkey: number; rkey: number };
  private readonly byteOffset: number;

  /** @internal */
  constructor(
    pd: ProtectionDomain,
    memory: NativeKeys & { handle: number },
    buffer: ArrayBuffer,
    byteOffset = 0,
    mapping?: RemoteMapping,
  ) {
    super(memory.handle, 'memory region', 'ibv_dereg_mr', mapping === undefined ? [pd] : [pd, mapping]);
    this.buffer = buffer;
    shows(buffer, this);
    this.byteOffset = byteOffset;
    this.address = memory.address;
    this.byteLength = memory.byteLength;
    this.keys = memory;
  }

  /** The key for local work requests. */
  get lkey(): number {
    return this.keys.lkey;
  }

  /** The key for peers. Whoever has it, and a connected queue pair, can use the memory as its access flags allow. */
  get rkey(): number {
    return this.keys.rkey;
  }

  /** A new view of exactly the registered bytes; empty after close(), and of a dma-buf. */
  get bytes(): Uint8Array {
    if (this.closed || this.buffer.byteLength === 0) return new Uint8Array(0);
    return new Uint8Array(this.buffer, this.byteOffset, this.byteLength);
  }

  /**
   * A part of the region, for scatter-gather lists.
   *
   * @param offset in bytes, default 0
   * @param length in bytes, default to the end
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it is not all inside
   */
  piece(offset = 0, length = this.byteLength - offset): ScatterGather {
    checkInteger('offset', offset, 0, this.byteLength);
    checkInteger('length', length, 0, this.byteLength - offset);
    return { address: this.address + offset, length, lkey: this.lkey };
  }

  /**
   * Changes the rights, or moves the region into another protection domain of the device; `lkey` and `rkey` may be
   * others afterwards. Not while work requests use it.
   *
   * @throws RdmaError ENOTSUP where the device cannot; EINVAL; after ENOMEM and EIO the region may be unusable
   * @see ibv_rereg_mr(3)
   */
  reregister(changes: { access?: number; protectionDomain?: ProtectionDomain }): void {
    const { access, protectionDomain } = changes;
    if (access !== undefined) checkInteger('access', access, 0, 2 ** 31 - 1);
    const result = native().reregisterMemory(this.handle, access, protectionDomain?.handle ?? 0);
    if (typeof result === 'number') throw errnoError(result, 'ibv_rereg_mr', 'close the region and register it again');
    this.keys = result;
    if (protectionDomain !== undefined) this.moveTo(protectionDomain);
  }

  /**
   * Revokes both keys and keeps the memory readable for its owner. When this has returned, no peer can change the
   * memory any more, a peer that was stopped in the middle of a write included. Memory of a peer (registerMapping)
   * stays that peer's, and with whoever has mapped it: only the keys end.
   *
   * @throws RdmaError EBUSY when that cannot be proved yet (a peer is in the middle of a copy): the keys are dead,
   *   but the memory must not be reused; call again later, or close()
   * @see ibv_dereg_mr(3); IBTA 10.6.7 on invalidation
   */
  deregister(): void {
    const rc = native().deregisterMemory(this.handle);
    if (rc !== 0) throw errnoError(rc, 'ibv_dereg_mr');
  }
}
