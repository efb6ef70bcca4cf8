// The space of a lane at its consumer: which messages were taken, where each lies, and which are still held.
//
// Invariant: space is given back strictly in order, whatever the order in which messages are released; a message is
// held from when it is taken until it and every message before it are released.
import { Positions, slotOf } from './positions.js';

export class LaneSpace {
  readonly slots: number;
  /** Last sequence that was taken from the lane. */
  taken: number;
  /** Last sequence whose space, and that of all before it, was given back. */
  released: number;
  private readonly releasedFlags: Uint8Array;
  private readonly positions: Positions; // of the messages that are held

  /** @param delivered last sequence that was delivered before this lane */
  constructor(slots: number, dataBytes: number, delivered: number) {
    this.slots = slots;
    this.taken = delivered;
    this.released = delivered;
    this.releasedFlags = new Uint8Array(slots);
    this.positions = new Positions(slots, dataBytes);
  }

  /** Messages that were taken and not released. */
  get held(): number {
    return this.taken - this.released;
  }

  // Slot of the oldest message that is held; -1: none is.
  private get first(): number {
    return this.taken === this.released ? -1 : slotOf(this.released + 1, this.slots);
  }

  /** Bytes of the data ring that cannot be written now. */
  get heldBytes(): number {
    return this.positions.takenFrom(this.first);
  }

  /** Position in the data ring, counted without end, behind the last message, and of the oldest one that is held. */
  get tail(): number {
    return this.positions.tail;
  }
  get head(): number {
    return this.positions.startOf(this.first);
  }

  /** True when the next message, of `space` bytes, must lie at `offset` of the data ring, and has room there. */
  isNext(offset: number, space: number): boolean {
    const { positions } = this;
    return offset === positions.nextOffset(space) && positions.fits(space, this.first);
  }

  /** Message `sequence`, the next one, takes `space` bytes and the slot that is its own. */
  take(sequence: number, slot: number, space: number): void {
    this.positions.put(slot, space);
    this.taken = sequence;
  }

  /**
   * The space of a message may be written again. False: it is not of this lane, or its space was given back before; or
   * it is no sequence at all.
   */
  release(sequence: number): boolean {
    // So that what is no number fails it.
    if (!(sequence > this.released && sequence <= this.taken && Number.isInteger(sequence))) return false;
    const { slots, releasedFlags } = this;
    let slot = slotOf(sequence, slots);
    releasedFlags[slot] = 1;
    // Only the oldest one moves the bound.
    if (sequence !== this.released + 1) return true;
    while (this.released < this.taken && releasedFlags[slot] === 1) {
      this.released++;
      releasedFlags[slot] = 0;
      slot = slot + 1 === slots ? 0 : slot + 1;
    }
    return true;
  }
}
