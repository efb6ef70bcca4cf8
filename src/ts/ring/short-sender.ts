// The fast path of a short message: one step from the caller's bytes into a slot of a mapped and polled lane.
//
// Invariant: it sends exactly what the general path would send: no earlier message waits, and there is credit. The
// message is published before the outbox copies it, and the copy is made before anything else is called.
import { DESCRIPTOR_BYTES, publishShort } from './layout.js';
import { type Placement, WriteMode } from './placement.js';
import type { RetainedMessages } from './retained-messages.js';

// As constants of this file: what another file exports is looked up at each use.
const { SLOT } = WriteMode;
const MESSAGE_AT = DESCRIPTOR_BYTES;

export class ShortSender {
  private readonly data: Uint8Array;
  private readonly words: Uint32Array;
  private readonly slotBytes: number;
  private readonly epoch: number;
  private readonly placement: Placement;
  private readonly retained: RetainedMessages;

  /** @param lane all of it, as it is mapped */
  constructor(lane: ArrayBuffer, epoch: number, placement: Placement, retained: RetainedMessages) {
    this.data = new Uint8Array(lane);
    this.words = new Uint32Array(lane, 0, lane.byteLength >> 2);
    this.slotBytes = placement.slotBytes;
    this.epoch = epoch;
    this.placement = placement;
    this.retained = retained;
  }

  /**
   * Shows a message to the inbox, as the next one. The caller gives it to {@link RetainedMessages.take} then, at once.
   *
   * @param bytes at least one, and no more than fit behind a descriptor
   * @returns false when it has to go the long way: others wait before it, or there is no room
   */
  show(bytes: Uint8Array): boolean {
    const { placement, retained } = this;
    const { last } = retained;
    const { length } = bytes;
    if (placement.sent !== last || !retained.fits(length) || !placement.hasCredit(0)) return false;
    const sequence = last + 1;
    const at = placement.put(sequence, 0, SLOT) * this.slotBytes;
    this.data.set(bytes, at + MESSAGE_AT);
    publishShort(this.words, at >> 2, this.epoch, sequence, length);
    placement.sent = sequence;
    placement.stall = undefined;
    return true;
  }
}
