// A protection domain: which queue pairs may use which memory.
//
// Invariant: a queue pair and the memory that its work requests name belong to the same protection domain; the device
// checks it, not this file.
import { errnoError } from '../core/errors.js';
import { checkBoolean, checkInteger, checkObject, invalidArgument } from '../core/validate.js';
import { CompletionQueue } from './completion-queue.js';
import { AccessFlags, QpType } from './constants.js';
import type { Device } from './device.js';
import { memlockRemedy } from './limits.js';
import { MemoryRegion } from './memory-region.js';
import { native } from './native.js';
import { QueuePair } from './queue-pair.js';
import { Resource } from './resource.js';

/** How to register memory. */
export interface MemoryOptions {
  /** Size in bytes, 1 to 2^46; shown to the byte, backed by whole pages of zeros. */
  bytes: number;
  /** Bits of {@link AccessFlags}; default LOCAL_WRITE. */
  access?: number;
}

/** How to create a queue pair. */
export interface QueuePairOptions {
  /** Where completions of send work requests go. */
  sendCq: CompletionQueue;
  /** Where completions of receives go; default `sendCq`. */
  receiveCq?: CompletionQueue;
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
  readonly device: Device;

  /** @internal */
  constructor(device: Device, handle: number) {
    super(handle, 'protection domain', 'ibv_dealloc_pd', [device]);
    this.device = device;
  }

  /**
   * Allocates page-aligned zeroed memory and registers it.
   *
   * @throws RdmaError ENOMEM when the machine or RLIMIT_MEMLOCK does not have it; EINVAL for rights that exclude each
   *   other (remote write needs local write); RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   * @see ibv_reg_mr(3)
   */
  registerMemory(options: MemoryOptions): MemoryRegion {
    checkObject('options', options);
    const bytes = checkInteger('bytes', options.bytes, 1, 2 ** 46);
    const access = checkInteger('access', options.access ?? AccessFlags.LOCAL_WRITE, 0, 15);
    const result = native().registerMemory(this.handle, bytes, access, 0);
    if (typeof result === 'number') throw errnoError(result, 'ibv_reg_mr', memlockRemedy(result, bytes));
    return new MemoryRegion(this, result);
  }

  /**
   * Creates a reliable-connected queue pair in the RESET state.
   *
   * @throws RdmaError EINVAL when the device does not grant the sizes; ENOMEM; RDMA_ERR_INVALID_ARGUMENT;
   *   RDMA_ERR_CLOSED
   * @see ibv_create_qp(3)
   */
  createQueuePair(options: QueuePairOptions): QueuePair {
    checkObject('options', options);
    const { sendCq, receiveCq = sendCq } = options;
    if (!(sendCq instanceof CompletionQueue)) throw invalidArgument('sendCq', sendCq, 'a CompletionQueue');
    if (!(receiveCq instanceof CompletionQueue)) throw invalidArgument('receiveCq', receiveCq, 'a CompletionQueue');
    const result = native().createQp(
      this.handle,
      sendCq.handle,
      receiveCq.handle,
      0,
      QpType.RC,
      checkInteger('maxSendWr', options.maxSendWr ?? 128, 1, 65536),
      checkInteger('maxRecvWr', options.maxRecvWr ?? 128, 0, 65536),
      checkInteger('maxSendSge', options.maxSendSge ?? 1, 1, 4),
      checkInteger('maxRecvSge', options.maxRecvSge ?? 1, 1, 4),
      checkInteger('maxInlineData', options.maxInlineData ?? 0, 0, 4096),
      checkBoolean('signalAll', options.signalAll ?? false),
    );
    if (typeof result === 'number') {
      throw errnoError(result, 'ibv_create_qp', 'ask for less than the limits that device.attributes shows');
    }
    return new QueuePair(this, sendCq, receiveCq, result);
  }
}
