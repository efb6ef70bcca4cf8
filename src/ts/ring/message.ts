// A message as the application of an inbox sees it.
//
// Invariant: `bytes` is a view of the lane itself, valid until release(); after that its contents may change, and
// after the inbox is closed its length is 0. Releasing gives space back, acknowledging gives custody back.
import type { Lane } from './lane.js';

export class InboxMessage {
  /** Name that the producer gave itself. */
  readonly from: string;
  /** Identity of this incarnation of the producer, 32 hexadecimal digits. */
  readonly producer: string;
  /** 1, 2, 3 ... for each producer incarnation. */
  readonly sequence: number;
  /** The message, in the lane's memory. Not a copy. */
  readonly bytes: Uint8Array;
  private readonly lane: Lane;

  /** @internal */
  constructor(lane: Lane) {
    this.lane = lane;
    this.from = lane.session.name;
    this.producer = lane.session.producer;
    this.sequence = lane.sequence;
    this.bytes = lane.data.subarray(lane.offset, lane.offset + lane.length);
  }

  /** How much of the lane cannot be written now, this message included, in bytes. */
  get laneHeldBytes(): number {
    return this.lane.heldBytes;
  }

  /** Size of the lane's data ring in bytes. */
  get laneBytes(): number {
    return this.lane.dataBytes;
  }

  /** How many messages of the lane are held, and how many it can hold. */
  get laneHeldMessages(): number {
    return this.lane.held;
  }

  get laneSlots(): number {
    return this.lane.slots;
  }

  /** The bytes are not needed any more. Space goes back to the producer in order, when all before are released too. */
  release(): void {
    this.lane.release(this.sequence);
  }

  /** The producer may forget the message. Does not release it. */
  acknowledge(): void {
    this.lane.acknowledge(this.sequence);
  }

  /** Release and acknowledge. */
  done(): void {
    this.release();
    this.acknowledge();
  }
}
