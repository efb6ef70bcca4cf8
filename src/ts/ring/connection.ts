// One connection of an outbox to an inbox: a queue pair, the lane at the inbox, and the bootstrap channel.
//
// Invariant: a connection that has failed is closed and never used again. Before the outbox makes a new one, messages
// whose bytes are only in the lane are copied to retained memory. Nothing that the inbox says is used unless it can be
// true.
import type { Answer } from './negotiation-messages.js';
import type { LaneWriter } from './lane-writer.js';
import { CONTROL_CRC_WORD, type Control, DESCRIPTOR_BYTES, decodeControl, LaneState } from './layout.js';
import { MappedWriter } from './mapped-writer.js';
import type { PullMemory } from './pull-memory.js';
import { slotOf } from './positions.js';
import { type LaneStall, Placement } from './placement.js';
import type { PortChannel, PortMapping, PortMemory, PortQueuePair } from './port.js';
import { RequestWriter } from './request-writer.js';
import { Home, Phase, type RetainedMessages } from './retained-messages.js';
import { ShortSender } from './short-sender.js';
import { StagedDescriptors } from './staged-descriptors.js';

// As constants of this file: what another file exports is looked up at each use.
const { OPEN } = Phase;
const { LANE } = Home;

/** Receives for control blocks. */
export const CONTROL_RECEIVES = 16;

/** What a connection is made of. */
export interface ConnectionParts {
  channel: PortChannel;
  qp: PortQueuePair;
  lane: Answer;
  retained: RetainedMessages;
  pullMemory: PullMemory;
  /** Control block, then each slot as it is in the lane. */
  staging: PortMemory;
  /** The lane, where it could be mapped: all of it where the inbox polls it, else its data ring. */
  mapping: PortMapping | undefined;
  /** Requests that may be outstanding: as the completion queue was sized, not as the device granted. */
  sendDepth: number;
  /** Descriptors say the checksum of their payload. */
  checksum: boolean;
}

export class Connection {
  readonly channel: PortChannel;
  readonly qp: PortQueuePair;
  readonly lane: Answer;
  /** What is mapped of the lane; see {@link ConnectionParts.mapping}. */
  readonly data: Uint8Array | undefined;
  /** The lane is written by stores alone: nothing completes here but the receives of control blocks. */
  readonly isStored: boolean;
  /** Where short messages may be sent in one step. */
  readonly shortSender: ShortSender | undefined;
  /** They are up to so long. */
  readonly shortBytes: number;
  /** Messages whose bytes had to be copied out of the lane, as their space went back before they were acknowledged. */
  spilled = 0;
  private readonly retained: RetainedMessages;
  private readonly staging: PortMemory;
  private readonly mapping: PortMapping | undefined;
  private readonly placement: Placement;
  private readonly staged: StagedDescriptors;
  private readonly writer: LaneWriter;
  private readonly control: Control = { state: 0, released: 0, acknowledged: 0 };
  private reservations = 0; // of this lane, that are open
  private closed = false;
  private receivesOwed = 0;
  private readCrc = 0; // of the control block that was read last; of none it is what new memory says

  constructor(parts: ConnectionParts) {
    const { channel, qp, lane, retained, pullMemory, staging, mapping, sendDepth, checksum } = parts;
    this.channel = channel;
    this.qp = qp;
    this.lane = lane;
    this.retained = retained;
    this.staging = staging;
    this.mapping = mapping;
    this.data = mapping === undefined ? undefined : new Uint8Array(mapping.buffer);
    const isStored = mapping !== undefined && lane.polled; // by the outbox, and no work requests are made
    this.isStored = isStored;
    // Behind a descriptor without a checksum there is none of the message either.
    const inlineBytes = isStored && checksum ? 0 : lane.inlineBytes;
    const dataAt = isStored ? lane.slots * (DESCRIPTOR_BYTES + lane.inlineBytes) : 0;
    const placement = new Placement(lane, retained, inlineBytes, dataAt);
    const staged = new StagedDescriptors(staging, lane, placement, retained, pullMemory, checksum);
    this.placement = placement;
    this.staged = staged;
    this.shortBytes = isStored ? inlineBytes : 0;
    if (isStored && inlineBytes > 0)
      this.shortSender = new ShortSender(mapping.buffer, lane.epoch, placement, retained);
    this.writer = isStored
      ? new MappedWriter(mapping.buffer, lane.epoch, placement, staged, retained)
      : new RequestWriter(qp, lane, placement, staged, retained, sendDepth);
  }

  /** True when the lane is mapped: messages can be built in it. */
  get isMapped(): boolean {
    return this.data !== undefined;
  }

  /** Last sequence that was written to the lane. */
  get sent(): number {
    return this.placement.sent;
  }

  /** Space up to this sequence may be written again. */
  get released(): number {
    return this.placement.released;
  }

  /** The inbox asked for nothing more. */
  get draining(): boolean {
    return this.placement.draining;
  }

  /** Why the last transmit() stopped, while there was more. */
  get stall(): LaneStall | undefined {
    return this.placement.stall;
  }

  // ---- Messages that are built in the lane

  /** True when the next message can be built in the lane itself: everything before it has its position. */
  takesInLane(space: number): boolean {
    const { placement } = this;
    if (this.data === undefined || placement.placed !== this.retained.last) return false;
    return placement.hasCredit(placement.isInline(space) ? 0 : space);
  }

  /**
   * Gives message `sequence`, the last one taken, its position in the lane; takesInLane() was true for it.
   *
   * @returns where it begins in {@link Connection.data}
   */
  putInLane(sequence: number, space: number): number {
    const { placement } = this;
    return placement.beginOf(placement.putHere(sequence, space));
  }

  private bytesInLane(sequence: number): Uint8Array {
    const { placement } = this;
    const offset = placement.beginOf(slotOf(sequence, placement.slots));
    return this.data!.subarray(offset, offset + this.retained.lengthOf(sequence));
  }

  /** A reservation in this lane begins or has ended; the mapping stays as long as there is one. */
  reservationOpened(): void {
    this.reservations++;
  }

  reservationEnded(): void {
    this.reservations--;
    if (this.closed && this.reservations === 0) this.mapping?.close();
  }

  get isClosed(): boolean {
    return this.closed;
  }

  // ---- Sending

  /** Writes what is ready and has credit. */
  transmit(): void {
    this.writer.transmit();
  }

  /** A signaled send work request has completed. */
  sendCompleted(wrId: number): void {
    this.writer.sendCompleted(wrId);
  }

  // ---- What the inbox says

  /** True when the control block is not the one that was read last. */
  get hasNews(): boolean {
    return (this.staged.words[CONTROL_CRC_WORD]! | 0) !== this.readCrc;
  }

  /** A control block has arrived. Answers the acknowledged sequence, or -1 when the consumer sends nonsense. */
  controlArrived(): number {
    this.receivesOwed++;
    const { control, placement } = this;
    const { words } = this.staged;
    const crc = words[CONTROL_CRC_WORD]! | 0;
    if (!decodeControl(words, 0, this.lane.epoch, control)) return this.retained.acknowledged;
    this.readCrc = crc;
    if (control.released > placement.sent || control.acknowledged > placement.sent) return -1;
    if (control.state !== LaneState.OPEN) placement.draining = true;
    if (control.released > placement.released) {
      if (this.data !== undefined) this.spill(control.released, control.acknowledged);
      placement.released = control.released;
    }
    return control.acknowledged;
  }

  // What was built in the lane, and loses its space there before it may be forgotten, is brought home.
  private spill(released: number, acknowledged: number): void {
    for (let sequence = Math.max(this.placement.released, acknowledged) + 1; sequence <= released; sequence++) {
      if (this.retained.homeOf(sequence) !== LANE) continue;
      this.retained.bring(sequence, this.bytesInLane(sequence));
      this.spilled++;
    }
  }

  repost(): void {
    this.qp.postEmptyReceives(this.receivesOwed);
    this.receivesOwed = 0;
  }

  // ---- End

  /**
   * Ends the connection. What has its bytes in the lane alone is brought home; reservations that are open stay usable.
   */
  close(): void {
    if (this.closed) return;
    this.channel.onClose = undefined;
    this.channel.onMessage = undefined;
    this.channel.close();
    this.qp.close();
    this.staging.close();
    const { retained } = this;
    for (
      let sequence = retained.acknowledged + 1;
      this.data !== undefined && sequence <= this.placement.placed;
      sequence++
    ) {
      // An open one is brought home when it is committed.
      if (retained.homeOf(sequence) !== LANE || retained.phaseOf(sequence) === OPEN) continue;
      retained.bring(sequence, this.bytesInLane(sequence));
    }
    this.closed = true;
    if (this.reservations === 0) this.mapping?.close();
  }
}
