// A completion channel: how a sleeping event loop learns that a completion queue has something.
//
// Invariant: the callback runs after *all* waiting events were taken and acknowledged, so no event is left in the
// descriptor. It says "look at your queues", never which one: poll each and arm it again.
import { errnoError } from '../core/errors.js';
import type { CompletionPump } from './completion-pump.js';
import type { Device } from './device.js';
import { native } from '../addon/native.js';
import { Resource } from './resource.js';

/** Made by {@link Device.createCompletionChannel}. */
export class CompletionChannel extends Resource {
  /** @internal The pumps that sleep on this channel. */
  readonly sleepers = new Set<CompletionPump>();
  private wanted = false;

  /** @internal */
  constructor(device: Device, handle: number, onEvent: () => void) {
    super(handle, 'completion channel', 'ibv_destroy_comp_channel', [device]);
    const rc = native().watchChannel(handle, () => {
      try {
        onEvent();
      } finally {
        for (const pump of [...this.sleepers]) pump.drive();
      }
    });
    if (rc !== 0) {
      this.close();
      throw errnoError(rc, 'uv_poll_init');
    }
  }

  /**
   * Whether waiting on this channel keeps the process alive; it does not at first. While a promise of
   * QueuePair.operations waits on it, it does in any case.
   */
  keepAlive(keep: boolean): void {
    this.wanted = keep;
    this.apply();
  }

  /** @internal */
  sleep(pump: CompletionPump): void {
    this.sleepers.add(pump);
    this.apply();
  }

  /** @internal */
  leave(pump: CompletionPump): void {
    if (this.sleepers.delete(pump) && !this.closed) this.apply();
  }

  private apply(): void {
    const rc = native().keepAlive(this.handle, this.wanted || this.sleepers.size > 0);
    if (rc !== 0) throw errnoError(rc, 'uv_ref');
  }
}
