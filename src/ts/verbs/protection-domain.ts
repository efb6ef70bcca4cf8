// A protection domain: which queue pairs may use which memory.
//
// Invariant: a queue pair and the memory that its work requests name belong to the same protection domain; the device
// checks it, not this file.
import { markAsUntransferable } from 'node:worker_threads';
import { constants } from 'node:os';
import { types } from 'node:util';
import { errnoError } from '../core/errors.js';
import { checkBoolean, checkInteger, checkObject, checkOneOf, invalidArgument } from '../core/validate.js';
import { AddressHandle, type AddressVector } from './address-handle.js';
import { CompletionQueue } from './completion-queue.js';
import { AccessFlags, QpType } from '../addon/constants.js';
import type { Device } from './device.js';
import { memlockRemedy } from './limits.js';
import { MemoryRegion } from './memory-region.js';
import { MemoryWindow } from './memory-window.js';
import { native } from '../addon/native.js';
import { QueuePair } from './queue-pair.js';
import { RemoteMapping } from './remote-mapping.js';
import { Resource } from './resource.js';
import { deviceError } from './soft-remedy.js';
import { SharedReceiveQueue, type SharedReceiveQueueOptions } from './shared-receive-queue.js';

const KNOWN_ACCESS = Object.values(AccessFlags).reduce((all, flag) => all | flag, 0);

/** How to register memory: exactly one of `bytes`, `buffer` and `dmabuf`. */
export interface MemoryOptions {
  /** Memory of the library: its size, 1 to 2^46; shown to the byte, backed by whole pages of zeros. */
  bytes?: number;
  /**
   * With `bytes`: huge pages of this size (2 MiB, 1 GiB, ... as the machine has), reserved beforehand
   * (/proc/sys/vm/nr_hugepages). Default: ordinary pages.
   */
  hugePageBytes?: number;
  /**
   * A caller's own memory, at least 1 byte. It is held until the region is closed, and its ArrayBuffer can never again
   * be transferred to another thread. Not resizable, not shared. A program that forks sets RDMAV_FORK_SAFE=1.
   */
  buffer?: Uint8Array;
  /** Memory of another device: `bytes` from `offset` (default 0) of this dma-buf's descriptor. */
  dmabuf?: { fd: number; offset?: number; bytes: number };
  /** Bits of {@link AccessFlags}; default LOCAL_WRITE. */
  access?: number;
}

/** How to create a queue pair. */
export interface QueuePairOptions {
  /** RC (reliable connected, default), UC (unreliable connected) or UD (datagrams): a value of {@link QpType}. */
  type?: number;
  /** Where completions of send work requests go. */
  sendCq: CompletionQueue;
  /** Where completions of receives go; default `sendCq`. */
  receiveCq?: CompletionQueue;
  /** Where receives come from, instead of a queue of its own. */
  sharedReceiveQueue?: SharedReceiveQueue;
  /** Send work requests that may be outstanding, 1 to the device's maxQpWr; default 128. */
  maxSendWr?: number;
  /** Receives that may be outstanding, 0 to the device's maxQpWr; default 128. */
  maxRecvWr?: number;
  /** Pieces of a send work request, 1 to 4; default 1. */
  maxSendSge?: number;
  /** Pieces of a receive, 1 to 4; default 1. */
  maxRecvSge?: number;
  /** Bytes that SendFlags.INLINE may copy at posting; default 0. */
  maxInlineData?: number;
  /** A completion for every send work request, signaled or not; default false. */
  signalAll?: boolean;
}

/** Made by {@link Device.allocateProtectionDomain}. */
export class ProtectionDomain extends Resource {
  /** The device that it is on. */
  readonly device: Device;

  /** @internal */
  constructor(device: Device, handle: number) {
    super(handle, 'protection domain', 'ibv_dealloc_pd', [device]);
    this.device = device;
  }

  /**
   * Registers memory, with `bytes` page-aligned zeroed memory of its own.
   *
   * @throws RdmaError ENOMEM when the machine or RLIMIT_MEMLOCK does not have it, or no huge pages are reserved; EINVAL
   *   for rights that exclude each other (remote write needs local write); ENOTSUP for what the device has not (dma-buf,
   *   on-demand paging); EFAULT for memory that cannot be pinned; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   * @see ibv_reg_mr(3), ibv_reg_dmabuf_mr(3)
   */
  registerMemory(options: MemoryOptions): MemoryRegion {
    checkObject('options', options);
    const { bytes, buffer, dmabuf } = options;
    if ([bytes, buffer, dmabuf].filter((source) => source !== undefined).length !== 1) {
      throw invalidArgument('options', options, 'an object with exactly one of bytes, buffer and dmabuf');
    }
    const access = checkInteger('access', options.access ?? AccessFlags.LOCAL_WRITE, 0, KNOWN_ACCESS);
    if ((access & ~KNOWN_ACCESS) !== 0) throw invalidArgument('access', access, 'bits of AccessFlags');
    if (buffer !== undefined) return this.registerBuffer(buffer, access);
    if (dmabuf !== undefined) return this.registerDmabuf(dmabuf, access);
    checkInteger('bytes', bytes, 1, 2 ** 46);
    const pageBytes = options.hugePageBytes ?? 0;
    if (pageBytes !== 0) checkHugePages(pageBytes);
    const result = native().registerMemory(this.handle, bytes!, access, pageBytes);
    if (typeof result === 'number') {
      const huge = pageBytes === 0 ? undefined : `are ${pageBytes}-byte huge pages reserved (/proc/meminfo)?`;
      throw huge === undefined
        ? deviceError(this.device.name, result, 'ibv_reg_mr', memlockRemedy(result, bytes!))
        : errnoError(result, 'ibv_reg_mr', huge);
    }
    return new MemoryRegion(this, result, result.buffer);
  }

  /**
   * Registers memory of a peer that is mapped here, so that others reach it through this process, also when that peer
   * is gone: they map it (with REMOTE_MAP) or use one-sided requests. Soft devices only. The region ends with the
   * mapping.
   *
   * @param mapping of any soft device of this process
   * @param access bits of {@link AccessFlags}; default LOCAL_WRITE
   * @throws RdmaError ENOTSUP on devices without shared memory; EINVAL for rights that exclude each other; ENOMEM;
   *   RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   */
  registerMapping(mapping: RemoteMapping, access: number = AccessFlags.LOCAL_WRITE): MemoryRegion {
    if (!(mapping instanceof RemoteMapping)) throw invalidArgument('mapping', mapping, 'a RemoteMapping');
    checkInteger('access', access, 0, KNOWN_ACCESS);
    const result = native().registerMapping(this.handle, mapping.handle, access);
    if (typeof result === 'number') throw errnoError(result, 'ibv_reg_mr');
    return new MemoryRegion(this, result, mapping.buffer, 0, mapping);
  }

  private registerBuffer(buffer: Uint8Array, access: number): MemoryRegion {
    if (!types.isUint8Array(buffer) || buffer.byteLength === 0) {
      throw invalidArgument('buffer', buffer, 'a Uint8Array (or Buffer) of at least 1 byte');
    }
    const memory = buffer.buffer as ArrayBuffer & { resizable?: boolean };
    if (!types.isArrayBuffer(memory) || memory.resizable) {
      throw invalidArgument('buffer', buffer, 'a view of an ArrayBuffer that is neither shared nor resizable');
    }
    markAsUntransferable(memory);
    const view = new Uint8Array(memory, buffer.byteOffset, buffer.byteLength);
    const result = native().registerBuffer(this.handle, view, access);
    if (typeof result === 'number') {
      throw deviceError(this.device.name, result, 'ibv_reg_mr', memlockRemedy(result, buffer.byteLength));
    }
    return new MemoryRegion(this, result, memory, buffer.byteOffset);
  }

  private registerDmabuf(dmabuf: NonNullable<MemoryOptions['dmabuf']>, access: number): MemoryRegion {
    checkObject('dmabuf', dmabuf);
    const fd = checkInteger('dmabuf.fd', dmabuf.fd, 0, 2 ** 31 - 1);
    const offset = checkInteger('dmabuf.offset', dmabuf.offset ?? 0, 0, 2 ** 46);
    const bytes = checkInteger('dmabuf.bytes', dmabuf.bytes, 1, 2 ** 46);
    const result = native().registerDmabuf(this.handle, fd, offset, bytes, access);
    if (typeof result === 'number') {
      throw errnoError(result, 'ibv_reg_dmabuf_mr', 'not every device and kernel can use memory of other devices');
    }
    return new MemoryRegion(this, result, new ArrayBuffer(0));
  }

  /**
   * Allocates a memory window of type 2; it opens nothing until it is bound.
   *
   * @throws RdmaError ENOTSUP where the device has none; ENOMEM; RDMA_ERR_CLOSED
   * @see ibv_alloc_mw(3)
   */
  allocateMemoryWindow(): MemoryWindow {
    return new MemoryWindow(this);
  }

  /**
   * Creates an address handle, for datagrams.
   *
   * @param path see {@link pathTo} for the usual one
   * @throws RdmaError EINVAL for a path that the device cannot take; ETIMEDOUT, ENETUNREACH, EHOSTUNREACH when the peer
   *   cannot be resolved on Ethernet; ENOTSUP; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   * @see ibv_create_ah(3)
   */
  createAddressHandle(path: AddressVector): AddressHandle {
    checkObject('path', path);
    return new AddressHandle(this, path);
  }

  /**
   * Creates a shared receive queue.
   *
   * @throws RdmaError EINVAL when the device does not grant the sizes; ENOMEM; ENOTSUP; RDMA_ERR_INVALID_ARGUMENT;
   *   RDMA_ERR_CLOSED
   * @see ibv_create_srq(3)
   */
  createSharedReceiveQueue(options: SharedReceiveQueueOptions = {}): SharedReceiveQueue {
    checkObject('options', options);
    return new SharedReceiveQueue(this, options);
  }

  /**
   * Creates a queue pair in the RESET state.
   *
   * @throws RdmaError EINVAL when the device does not grant the sizes; ENOTSUP for a type that it has not; ENOMEM;
   *   RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   * @see ibv_create_qp(3)
   */
  createQueuePair(options: QueuePairOptions): QueuePair {
    checkObject('options', options);
    const { sendCq, receiveCq = sendCq, sharedReceiveQueue: srq } = options;
    if (!(sendCq instanceof CompletionQueue)) throw invalidArgument('sendCq', sendCq, 'a CompletionQueue');
    if (!(receiveCq instanceof CompletionQueue)) throw invalidArgument('receiveCq', receiveCq, 'a CompletionQueue');
    if (srq !== undefined && !(srq instanceof SharedReceiveQueue)) {
      throw invalidArgument('sharedReceiveQueue', srq, 'a SharedReceiveQueue');
    }
    const type = checkOneOf('type', options.type ?? QpType.RC, Object.values(QpType));
    const result = native().createQp(
      this.handle,
      sendCq.handle,
      receiveCq.handle,
      srq?.handle ?? 0,
      type,
      checkInteger('maxSendWr', options.maxSendWr ?? 128, 1, 65536),
      checkInteger('maxRecvWr', options.maxRecvWr ?? (srq === undefined ? 128 : 0), 0, 65536),
      checkInteger('maxSendSge', options.maxSendSge ?? 1, 1, 4),
      checkInteger('maxRecvSge', options.maxRecvSge ?? 1, 1, 4),
      checkInteger('maxInlineData', options.maxInlineData ?? 0, 0, 4096),
      checkBoolean('signalAll', options.signalAll ?? false),
    );
    if (typeof result === 'number') {
      throw errnoError(result, 'ibv_create_qp', queuePairRemedy(this.device.name, type, srq !== undefined, result));
    }
    return new QueuePair(this, type, sendCq, receiveCq, srq, result);
  }
}

function queuePairRemedy(device: string, type: number, sharesReceives: boolean, rc: number): string {
  if (rc !== -constants.errno.EOPNOTSUPP && rc !== -constants.errno.ENOTSUP) {
    return 'ask for less than the limits that device.attributes shows';
  }
  const name = Object.entries(QpType).find(([, code]) => code === type)?.[0];
  return `${device} has no queue pairs of type ${name}${sharesReceives ? ' with a shared receive queue' : ''}`;
}

function checkHugePages(bytes: number): void {
  checkInteger('hugePageBytes', bytes, 2 ** 16, 2 ** 34);
  if (!Number.isInteger(Math.log2(bytes))) throw invalidArgument('hugePageBytes', bytes, 'a power of two');
}
