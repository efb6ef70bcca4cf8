// A memory window of type 2: a part of a region under a key of its own, given and taken back by work requests.
//
// Invariant: `rkey` is the key that is in force as far as this side knows: it changes when a bind has completed, which
// whoever polls says by setting it (QueuePair.operations does).
import { errnoError } from '../core/errors.js';
import { native } from '../addon/native.js';
import type { ProtectionDomain } from './protection-domain.js';
import { Resource } from './resource.js';

/** Made by {@link ProtectionDomain.allocateMemoryWindow}. */
export class MemoryWindow extends Resource {
  /** What work requests name it by. */
  readonly number: number;
  /** The key in force; set it when a bind to another one has completed. A window that was never bound opens nothing. */
  rkey: number;

  /** @internal */
  constructor(pd: ProtectionDomain) {
    const result = native().allocateWindow(pd.handle);
    if (typeof result === 'number') {
      throw errnoError(result, 'ibv_alloc_mw', 'device.attributes.maxMw says how many windows the device has');
    }
    super(result.handle, 'memory window', 'ibv_dealloc_mw', [pd]);
    this.number = result.number;
    this.rkey = result.rkey;
  }
}
