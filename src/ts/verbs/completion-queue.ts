// A completion queue.
//
// Invariant: poll() allocates nothing and leaves what it brought in `completions` until the next poll(). What belongs
// to a promise (QueuePair.operations) settles it and is never among them.
import { constants } from 'node:os';
import { errnoError, RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import type { CompletionChannel } from './completion-channel.js';
import { CompletionPump } from './completion-pump.js';
import { Completions } from './completions.js';
import { type CompletionQueueCounters, completionQueueCounters } from './counters.js';
import type { Device } from './device.js';
import { hotCalls } from '../addon/hot-calls.js';
import { native, type NativeCq } from '../addon/native.js';
import { Resource } from './resource.js';

const EBADF = -constants.errno.EBADF;

/** Made by {@link Device.createCompletionQueue}. */
export class CompletionQueue extends Resource {
  /** What the last poll() brought. */
  readonly completions: Completions;
  /** Its number within the device, as asynchronous events name it. */
  readonly number: number;
  /** What happened here so far. */
  readonly counters: CompletionQueueCounters;
  /** @internal */
  readonly pump: CompletionPump;
  /** @internal */
  readonly channel: CompletionChannel | undefined;
  private capacity_: number;
  private readonly live: ReturnType<typeof completionQueueCounters>;
  private readonly device: Device;
  private readonly hot = hotCalls();

  /** @internal */
  constructor(device: Device, channel: CompletionChannel | undefined, cq: NativeCq) {
    super(cq.handle, 'completion queue', 'ibv_destroy_cq', channel === undefined ? [device] : [device, channel]);
    this.completions = new Completions(cq.records);
    this.number = cq.number;
    this.channel = channel;
    this.capacity_ = cq.capacity;
    this.live = completionQueueCounters(cq.counters);
    this.counters = this.live;
    this.device = device;
    this.pump = new CompletionPump(this);
    device.elements.completionQueues.set(this.number, this);
  }

  /** Completions that fit; at least what was asked for. */
  get capacity(): number {
    return this.capacity_;
  }

  /**
   * Takes finished work requests.
   *
   * @param max most to take; default as many as `completions` holds (up to 256)
   * @param looks how often to look for the first one before answering 0, 1 to 2^20; default 1. Many looks in one call
   *   see it sooner than many calls do; the event loop waits as long, some tens of nanoseconds for each
   * @returns how many there are now in {@link CompletionQueue.completions}, 0 for none
   * @throws RdmaError RDMA_ERR_CLOSED; the errno of the device
   * @see ibv_poll_cq(3)
   */
  poll(max = 256, looks = 1): number {
    return this.pump.busy ? this.pump.poll(max, looks) : this.pollAll(max, looks);
  }

  /** @internal As poll(), with what belongs to promises among it. */
  pollAll(max: number, looks = 1): number {
    const count = this.hot.pollCq(this.rawHandle, max, looks);
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
    const rc = this.hot.requestNotify(this.rawHandle, solicitedOnly ? 1 : 0);
    if (rc < 0) throw this.failure(rc, 'ibv_req_notify_cq');
  }

  /**
   * Changes how many completions fit.
   *
   * @param capacity 1 to attributes.maxCqe
   * @returns the new capacity, at least what was asked for
   * @throws RdmaError EINVAL when more completions wait than would fit, or the device refuses; ENOTSUP; RDMA_ERR_CLOSED
   * @see ibv_resize_cq(3)
   */
  resize(capacity: number): number {
    checkInteger('capacity', capacity, 1, this.device.attributes.maxCqe);
    const result = native().resizeCq(this.handle, capacity);
    if (result < 0) throw errnoError(result, 'ibv_resize_cq');
    this.capacity_ = result;
    return result;
  }

  private failure(rc: number, syscall: string): RdmaError {
    return rc === EBADF ? new RdmaError('RDMA_ERR_CLOSED', 'the completion queue is closed') : errnoError(rc, syscall);
  }

  protected override onClosing(): void {
    this.live.keep();
  }

  protected override onClosed(): void {
    this.device.elements.completionQueues.delete(this.number);
    this.pump.stop();
  }
}
