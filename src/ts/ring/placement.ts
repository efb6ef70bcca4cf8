// The positions of a connection's messages in the lane at the inbox, and the credit for more.
//
// Invariant: credit (slots and bytes of the lane) is never exceeded; messages get their positions in the order of their
// sequences, each once, and keep them until the inbox has released them.
import type { Answer } from './negotiation-messages.js';
import { DESCRIPTOR_BYTES } from './layout.js';
import { Positions, slotOf } from './positions.js';
import { Home, Phase, type RetainedMessages } from './retained-messages.js';

// As constants of this file: what another file exports is looked up at each use.
const { OPEN } = Phase;
const { RETAINED } = Home;

/**
 * How the bytes of a message that has its position get into the lane: NONE, when it has none or they are there already;
 * to the data RING; to its SLOT, behind the descriptor; not at all, when they are IN_SLOT already.
 */
export const WriteMode = { NONE: 0, RING: 1, SLOT: 2, IN_SLOT: 3 } as const;
const { NONE, RING, SLOT, IN_SLOT } = WriteMode;

/** Why a connection writes nothing although there is something to write. */
export type LaneStall = 'slots' | 'bytes' | 'reservation' | 'queue' | 'draining';

export class Placement {
  /** Last sequence that was written to the lane. */
  sent: number;
  /** Space up to this sequence may be written again. */
  released: number;
  /** Last sequence that has a position in the lane; those after `sent` are reserved. */
  placed: number;
  /** The inbox asked for nothing more. */
  draining = false;
  /** Why the last message that was tried cannot go. */
  stall: LaneStall | undefined;
  readonly slots: number;
  /** Bytes of a slot: a descriptor, and the room behind it. */
  readonly slotBytes: number;
  private readonly inlineBytes: number;
  private readonly dataAt: number; // where the data ring begins in what is mapped
  private readonly retained: RetainedMessages;
  private readonly positions: Positions; // of the messages in the lane
  private readonly spaces: Float64Array; // and the bytes that each takes
  private readonly modes: Uint8Array; // and how its bytes get there

  /**
   * @param inlineBytes messages up to this length go to their slot
   * @param dataAt where the data ring begins in what is mapped of the lane
   */
  constructor(lane: Answer, retained: RetainedMessages, inlineBytes: number, dataAt: number) {
    this.sent = lane.delivered;
    this.released = lane.delivered;
    this.placed = lane.delivered;
    this.slots = lane.slots;
    this.slotBytes = DESCRIPTOR_BYTES + lane.inlineBytes;
    this.inlineBytes = inlineBytes;
    this.dataAt = dataAt;
    this.retained = retained;
    this.positions = new Positions(lane.slots, lane.dataBytes);
    this.spaces = new Float64Array(lane.slots);
    this.modes = new Uint8Array(lane.slots);
  }

  /** Whether the next message to be placed, of `space` bytes, has credit; says why not in `stall`. */
  hasCredit(space: number): boolean {
    const { slots, placed, released } = this;
    if (this.draining) return this.stop('draining');
    if (placed - released >= slots) return this.stop('slots');
    const first = placed === released ? -1 : slotOf(released + 1, slots);
    return this.positions.fits(space, first) || this.stop('bytes');
  }

  /** Notes why nothing more goes. */
  stop(why: LaneStall): false {
    this.stall = why;
    return false;
  }

  /** Gives message `sequence`, the next one, its position; hasCredit() was true for it. Answers its slot. */
  put(sequence: number, space: number, mode: number): number {
    const slot = slotOf(sequence, this.slots);
    this.positions.put(slot, space);
    this.spaces[slot] = space;
    this.modes[slot] = mode;
    this.placed = sequence;
    return slot;
  }

  /** Gives message `sequence`, the next one, its position if it has none; false when it cannot go yet. */
  isReady(sequence: number): boolean {
    const { retained } = this;
    if (retained.phaseOf(sequence) === OPEN) return this.stop('reservation');
    if (sequence <= this.placed) return true;
    const length = retained.homeOf(sequence) === RETAINED ? retained.lengthOf(sequence) : 0;
    const isInline = this.isInline(length);
    const space = isInline ? 0 : length;
    if (!this.hasCredit(space)) return false;
    this.put(sequence, space, isInline ? SLOT : space > 0 ? RING : NONE);
    return true;
  }

  /** True when a message of `length` bytes lies behind its descriptor. */
  isInline(length: number): boolean {
    return length > 0 && length <= this.inlineBytes;
  }

  /** Gives message `sequence`, the next one, a position of `space` bytes in which it is built. Answers its slot. */
  putHere(sequence: number, space: number): number {
    return this.isInline(space) ? this.put(sequence, 0, IN_SLOT) : this.put(sequence, space, NONE);
  }

  /** Where the message in `slot` begins in what is mapped of the lane. */
  beginOf(slot: number): number {
    const mode = this.modes[slot];
    const isInSlot = mode === SLOT || mode === IN_SLOT;
    return isInSlot ? slot * this.slotBytes + DESCRIPTOR_BYTES : this.dataAt + this.positions.offsetOf(slot);
  }

  /** Where the message in `slot` begins in the data ring, the bytes that it takes there, and how they get there. */
  offsetAt(slot: number): number {
    return this.positions.offsetOf(slot);
  }
  spaceAt(slot: number): number {
    return this.spaces[slot]!;
  }
  modeAt(slot: number): number {
    return this.modes[slot]!;
  }

  /** True when the bytes of the message in `slot` are to be written to the data ring. */
  goesToRing(slot: number): boolean {
    return this.modes[slot] === RING;
  }
}
