// A completion channel: how a sleeping event loop learns that a completion queue has something.
//
// Invariant: the callback runs after *all* waiting events were taken and acknowledged, so no event is left in the
// descriptor. It says "look at your queues", never which one: poll each and arm it again.
import { errnoError } from '../core/errors.js';
import type { Device } from './device.js';
import { native } from './native.js';
import { Resource } from './resource.js';

/** Made by {@link Device.createCompletionChannel}. */
export class CompletionChannel extends Resource {
  /** @internal */
  constructor(device: Device, handle: number, onEvent: () => void) {
    super(handle, 'completion channel', 'ibv_destroy_comp_channel', [device]);
    const rc = native().watchChannel(handle, onEvent);
    if (rc !== 0) {
      this.close();
      throw errnoError(rc, 'uv_poll_init');
    }
  }

  /** Whether waiting on this channel keeps the process alive; it does not at first. */
  keepAlive(keep: boolean): void {
    const rc = native().keepAlive(this.handle, keep);
    if (rc !== 0) throw errnoError(rc, 'uv_ref');
  }
}
