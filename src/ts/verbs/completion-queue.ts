// A completion queue.
//
// Invariant: poll() allocates nothing and leaves what it brought in `completions` until the next poll().
import { constants } from 'node:os';
import { errnoError, RdmaError } from '../core/errors.js';
import type { CompletionChannel } from './completion-channel.js';
import type { Device } from './device.js';
import { native, type NativeAddon, type NativeCq } from './native.js';
import { Completions } from './records.js';
import { Resource } from './resource.js';

const EBADF = -constants.errno.EBADF;

/** Made by {@link Device.createCompletionQueue}. */
export class CompletionQueue extends Resource {
  /** What the last poll() brought. */
  readonly completions: Completions;
  /** Completions that fit; at least what was asked for. */
  readonly capacity: number;
  private readonly addon: NativeAddon;

  /** @internal */
  constructor(device: Device, channel: CompletionChannel | undefined, cq: NativeCq) {
    super(cq.handle, 'completion queue', 'ibv_destroy_cq', channel === undefined ? [device] : [device, channel]);
    this.completions = new Completions(cq.records);
    this.capacity = cq.capacity;
    this.addon = native();
  }

  /**
   * Takes finished work requests.
   *
   * @param max most to take; default as many as `completions` holds (up to 256)
   * @returns how many there are now in {@link CompletionQueue.completions}, 0 for none
   * @throws RdmaError RDMA_ERR_CLOSED; the errno of the device
   * @see ibv_poll_cq(3)
   */
  poll(max = 256): number {
    const count = this.addon.pollCq(this.rawHandle, max);
    if (count < 0) throw this.failure(count, 'ibv_poll_cq');
    return count;
  }

  /**
   * Asks for one event on the channel when the next completion arrives. Completions that arrived before may not raise
   * it: poll once more after arming.
   *
   * @param solicitedOnly only for completions of requests with SendFlags.SOLICITED, and for errors
   * @throws RdmaError EINVAL without a channel; RDMA_ERR_CLOSED
   * @see ibv_req_notify_cq(3)
   */
  requestNotify(solicitedOnly = false): void {
    const rc = this.addon.requestNotify(this.rawHandle, solicitedOnly ? 1 : 0);
    if (rc < 0) throw this.failure(rc, 'ibv_req_notify_cq');
  }

  private failure(rc: number, syscall: string): RdmaError {
    return rc === EBADF ? new RdmaError('RDMA_ERR_CLOSED', 'CompletionQueue is closed') : errnoError(rc, syscall);
  }
}
