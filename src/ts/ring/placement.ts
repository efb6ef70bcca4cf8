// Where the messages of a connection lie in the lane at the other side, and what credit there is for more.
//
// Invariant: credit (slots and bytes of the lane) is never exceeded; messages get their places in the order of their
// sequences, each once, and keep them until the inbox has released them.
import type { Answer } from './documents.js';
import { Places, slotOf } from './places.js';
import { Home, Phase, type Retained } from './retained.js';

// As constants of this file: what another file exports is looked up at each use.
const { OPEN } = Phase;
const { RETAINED } = Home;

/**
 * The way of the bytes of a message that has its place: NONE, as there are none here or they are there already; to the
 * data RING; to its SLOT, behind the descriptor.
 */
export const Way = { NONE: 0, RING: 1, SLOT: 2 } as const;
const { NONE, RING, SLOT } = Way;

/** Why a connection writes nothing although there is something to write. */
export type LaneStall = 'slots' | 'bytes' | 'reservation' | 'queue' | 'draining';

export class Placement {
  /** Last sequence that was written to the lane. */
  sent: number;
  /** Space up to this sequence may be written again. */
  released: number;
  /** Last sequence that has a place in the lane; those after `sent` are reserved. */
  placed: number;
  /** The inbox asked for nothing more. */
  draining = false;
  /** Why the last message that was tried cannot go. */
  stall: LaneStall | undefined;
  readonly slots: number;
  private readonly inlineBytes: number;
  private readonly retained: Retained;
  private readonly places: Places; // of the messages in the lane
  private readonly spaces: Float64Array; // and the bytes that each takes
  private readonly ways: Uint8Array; // and a way for its bytes

  constructor(lane: Answer, retained: Retained) {
    this.sent = lane.delivered;
    this.released = lane.delivered;
    this.placed = lane.delivered;
    this.slots = lane.slots;
    this.inlineBytes = lane.inlineBytes;
    this.retained = retained;
    this.places = new Places(lane.slots, lane.dataBytes);
    this.spaces = new Float64Array(lane.slots);
    this.ways = new Uint8Array(lane.slots);
  }

  /** Whether the next message to be placed, of `space` bytes, has credit; says why not in `stall`. */
  hasCredit(space: number): boolean {
    const { slots, placed, released } = this;
    if (this.draining) return this.stop('draining');
    if (placed - released >= slots) return this.stop('slots');
    const first = placed === released ? -1 : slotOf(released + 1, slots);
    return this.places.fits(space, first) || this.stop('bytes');
  }

  /** Notes why nothing more goes. */
  stop(why: LaneStall): false {
    this.stall = why;
    return false;
  }

  /** Gives message `sequence`, the next one, its place; hasCredit() was true for it. Answers its slot. */
  place(sequence: number, space: number, way: number): number {
    const slot = slotOf(sequence, this.slots);
    this.places.put(slot, space);
    this.spaces[slot] = space;
    this.ways[slot] = way;
    this.placed = sequence;
    return slot;
  }

  /** Gives message `sequence`, the next one, its place if it has none; false when it cannot go yet. */
  isReady(sequence: number): boolean {
    const { retained } = this;
    if (retained.phaseOf(sequence) === OPEN) return this.stop('reservation');
    if (sequence <= this.placed) return true;
    const length = retained.homeOf(sequence) === RETAINED ? retained.lengthOf(sequence) : 0;
    const isInline = length > 0 && length <= this.inlineBytes;
    const space = isInline ? 0 : length;
    if (!this.hasCredit(space)) return false;
    this.place(sequence, space, isInline ? SLOT : space > 0 ? RING : NONE);
    return true;
  }

  /** Where the message in `slot` begins in the data ring, the bytes that it takes there, and their way. */
  offsetAt(slot: number): number {
    return this.places.offsetOf(slot);
  }
  spaceAt(slot: number): number {
    return this.spaces[slot]!;
  }
  wayAt(slot: number): number {
    return this.ways[slot]!;
  }

  /** Where message `sequence`, which has its place, begins in the data ring. */
  offsetOf(sequence: number): number {
    return this.places.offsetOf(slotOf(sequence, this.slots));
  }

  /** True when the bytes of the message in `slot` are to be written to the data ring. */
  goesToRing(slot: number): boolean {
    return this.ways[slot] === RING;
  }
}
