// The writer of a lane by RDMA WRITEs: the payloads of a batch, then its descriptors, with one doorbell.
//
// Invariant: the payload of a message is written before its descriptor, on the same queue pair, so that it is there
// when the completion of the descriptor comes. Short messages go behind their descriptor, and its checksum shows when
// both are there. There are never more work requests outstanding than the queue pair and its completion queue take.
import { SendFlags } from '../verbs/index.js';
import type { Answer } from './negotiation-messages.js';
import { BATCH_BYTES, type LaneWriter } from './lane-writer.js';
import { laneImm, MAX_BATCH } from './layout.js';
import { slotOf } from './positions.js';
import type { Placement } from './placement.js';
import type { PortQueuePair } from './port.js';
import type { RetainedMessages } from './retained-messages.js';
import type { StagedDescriptors } from './staged-descriptors.js';

// As constants of this file: what another file exports is looked up at each use, and through an index by a call.
const { SIGNALED } = SendFlags;

/** WRITEs of neighbouring payloads are joined up to here. */
const MAX_JOINED_BYTES = 1 << 30;
/** Work requests for the descriptors of a batch, where they go round the end of their ring. */
const WRAPPED_DESCRIPTORS = 2;

export class RequestWriter implements LaneWriter {
  private readonly qp: PortQueuePair;
  private readonly lane: number;
  private readonly slots: number;
  private readonly polled: boolean;
  private readonly placement: Placement;
  private readonly staged: StagedDescriptors;
  private readonly retained: RetainedMessages;
  private readonly sendDepth: number;
  // Keys as signed numbers, which are never objects.
  private readonly laneKey: number;
  private readonly retainedKey: number;
  private readonly retainedAddress: number;
  private readonly laneAddress: number;
  private readonly dataAddress: number;
  private posted = 0; // send work requests ever
  private completed = 0; // of those, known to be out of the queue
  private signaled = 0; // `posted` when the last signaled one was posted
  private batch = 0; // messages of the batch that is being filled,
  private outside = 0; // and how many of them have their bytes in the data ring
  private joinable = -1; // offset in the lane behind the last payload of it,
  private joinableFrom = -1; // behind the same in the retained memory,
  private joined = 0; // and the bytes of the WRITE that ends there

  /** @param sendDepth requests that may be outstanding: as the completion queue was sized, not as the device granted */
  constructor(
    qp: PortQueuePair,
    lane: Answer,
    placement: Placement,
    staged: StagedDescriptors,
    retained: RetainedMessages,
    sendDepth: number,
  ) {
    this.qp = qp;
    this.lane = lane.lane;
    this.slots = lane.slots;
    this.polled = lane.polled;
    this.placement = placement;
    this.staged = staged;
    this.retained = retained;
    this.sendDepth = Math.min(sendDepth, qp.capabilities.maxSendWr);
    this.laneKey = lane.memory.rkey | 0;
    this.retainedKey = retained.memory.lkey | 0;
    this.retainedAddress = retained.memory.address;
    this.laneAddress = lane.memory.address;
    this.dataAddress = lane.memory.address + lane.slots * staged.slotBytes;
  }

  transmit(): void {
    const { qp } = this;
    for (let requests = this.fill(); requests > 0; requests = this.fill()) {
      this.posted += requests;
      // Signaled often enough that the queue never fills up with what nobody hears of.
      const signal = this.posted - this.signaled >= this.sendDepth / 4;
      if (signal) this.signaled = this.posted;
      const flags = signal ? SIGNALED : 0;
      // An inbox that polls finds what is all in its slots; what is in the data ring is there for sure with a
      // completion only.
      const announced = this.polled ? this.outside : this.batch;
      if (announced > 0) qp.sends.addImm(requests - 1, flags, laneImm(this.lane, announced));
      else qp.sends.setFlags(requests - 1, flags);
      qp.sends.setWrId(requests - 1, this.posted);
      qp.postSend(requests);
    }
  }

  // The work requests of the next batch: the payloads, then the descriptors. Answers how many; there are `batch`
  // messages in it.
  private fill(): number {
    const { retained, placement, staged } = this;
    const { last } = retained;
    const most =
      Math.min(this.qp.sends.capacity, this.sendDepth - (this.posted - this.completed)) - WRAPPED_DESCRIPTORS;
    const first = placement.sent + 1;
    let requests = 0;
    let bytes = 0;
    this.batch = 0;
    this.outside = 0;
    this.joinable = -1;
    placement.stall = undefined;
    while (placement.sent < last && this.batch < MAX_BATCH && bytes < BATCH_BYTES) {
      if (requests >= most) {
        placement.stop('queue');
        break;
      }
      const sequence = placement.sent + 1;
      if (!placement.isReady(sequence)) break;
      const slot = slotOf(sequence, this.slots);
      staged.describe(sequence, slot);
      if (placement.goesToRing(slot)) {
        requests += this.writePayload(requests, sequence);
        bytes += retained.lengthOf(sequence);
        this.outside++;
      }
      bytes += staged.slotBytes;
      placement.sent = sequence;
      this.batch++;
    }
    return this.batch === 0 ? 0 : requests + this.writeDescriptors(requests, first);
  }

  // The WRITE of the message that describe() has described, at index `at`; or the one before it, at both sides its
  // neighbour, becomes longer. Answers how many requests were added. Addresses go by calls that are always inlined: a
  // number beyond 2^31 would be an object as an argument.
  private writePayload(at: number, sequence: number): 0 | 1 {
    const { offset, length } = this.staged.descriptor;
    const { sends } = this.qp;
    const from = this.retained.offsetOf(sequence);
    const joins = offset === this.joinable && from === this.joinableFrom && this.joined + length <= MAX_JOINED_BYTES;
    this.joinable = offset + length;
    this.joinableFrom = from + length;
    if (joins) {
      this.joined += length;
      sends.setLength(at - 1, this.joined);
      return 0;
    }
    this.joined = length;
    sends.write(at, 0, 0, 0, this.laneKey, 0, length, this.retainedKey);
    sends.setRemoteAddress(at, this.dataAddress + offset);
    sends.setAddress(at, this.retainedAddress + from);
    return 1;
  }

  // The descriptors of the batch that begins with message `first`: one WRITE, or two where they go round the end of the
  // ring.
  private writeDescriptors(at: number, first: number): 1 | 2 {
    const { slots } = this;
    const slot = slotOf(first, slots);
    const straight = Math.min(this.batch, slots - slot);
    this.writeSlots(at, slot, straight);
    if (straight === this.batch) return 1;
    this.writeSlots(at + 1, 0, this.batch - straight);
    return 2;
  }

  private writeSlots(at: number, slot: number, count: number): void {
    const { staged } = this;
    const { slotBytes } = staged;
    const { sends } = this.qp;
    // Up to the end of the last message.
    const length = (count - 1) * slotBytes + staged.usedBytes(slot + count - 1);
    sends.write(at, 0, 0, 0, this.laneKey, 0, length, staged.key);
    sends.setRemoteAddress(at, this.laneAddress + slot * slotBytes);
    sends.setAddress(at, staged.address + slot * slotBytes);
  }

  sendCompleted(wrId: number): void {
    if (wrId > this.completed && wrId <= this.posted) this.completed = wrId;
  }
}
