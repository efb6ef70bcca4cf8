// One connection of an outbox to an inbox: a queue pair, the lane at the other side, and the bootstrap channel.
//
// Invariant: the payload of a message is written before its descriptor on the same queue pair, so no descriptor
// overtakes what it describes; credits (slots and bytes of the lane) are never exceeded. A connection that has failed
// is closed and never used again; the outbox makes a new one.
import { SendFlags } from '../verbs/index.js';
import type { Answer } from './documents.js';
import {
  alignedLength,
  type Control,
  decodeControl,
  encodeDescriptor,
  laneImm,
  MAX_BATCH,
  offsetIn,
  placeMessage,
  SLOT_BYTES,
} from './layout.js';
import type { PortChannel, PortMemory, PortQueuePair } from './port.js';
import type { Retained } from './retained.js';

/** Receives for control blocks. */
export const CONTROL_RECEIVES = 16;

export class Connection {
  readonly channel: PortChannel;
  readonly qp: PortQueuePair;
  readonly inbox: string;
  /** Last sequence that was written to the lane. */
  sent: number;
  /** Space up to this sequence may be written again. */
  released: number;

  private readonly lane: Answer;
  private readonly retained: Retained;
  private readonly staging: PortMemory; // control block, then a descriptor for each slot
  private readonly words: Uint32Array;
  private readonly starts: Float64Array; // position of each message in the lane
  private readonly control: Control = { state: 0, released: 0, acknowledged: 0 };
  private readonly sendDepth: number;
  private tail = 0;
  private posted = 0; // send work requests ever
  private completed = 0; // of those, known to be out of the queue
  private signaled = 0; // `posted` when the last signaled one was posted
  private receivesOwed = 0;

  /** @param sendDepth requests that may be outstanding: as the completion queue was sized, not as the device granted */
  constructor(
    channel: PortChannel,
    qp: PortQueuePair,
    lane: Answer,
    retained: Retained,
    staging: PortMemory,
    sendDepth: number,
  ) {
    this.channel = channel;
    this.qp = qp;
    this.lane = lane;
    this.inbox = lane.inbox;
    this.retained = retained;
    this.staging = staging;
    this.words = new Uint32Array(staging.buffer);
    this.starts = new Float64Array(lane.slots);
    this.sendDepth = Math.min(sendDepth, qp.capabilities.maxSendWr);
    this.sent = lane.delivered;
    this.released = lane.delivered;
  }

  /** What the inbox had acknowledged when the connection began. */
  get acknowledged(): number {
    return this.lane.acknowledged;
  }

  /** The largest message that the lane can take, in bytes. */
  get dataBytes(): number {
    return this.lane.dataBytes;
  }

  /** Writes what is retained and has credit; answers how many messages that were. */
  transmit(): number {
    const { sends } = this.qp;
    let total = 0;
    for (;;) {
      let requests = 0;
      let messages = 0;
      while (this.sent < this.retained.last && messages < MAX_BATCH) {
        if (requests + 2 > sends.capacity || this.posted - this.completed + requests + 2 > this.sendDepth) break;
        const added = this.fill(requests);
        if (added === 0) break;
        requests += added;
        messages++;
      }
      if (messages === 0) return total;
      this.posted += requests;
      // Signaled often enough that the queue never fills up with what nobody hears of.
      const signal = this.posted - this.signaled >= this.sendDepth / 4;
      if (signal) this.signaled = this.posted;
      sends.addImm(requests - 1, signal ? SendFlags.SIGNALED : 0, laneImm(this.lane.lane, messages));
      sends.setWrId(requests - 1, this.posted);
      this.qp.postSend(requests);
      total += messages;
    }
  }

  // The work requests of the next message, from index `at`; 0 when it has no credit yet.
  private fill(at: number): number {
    const { lane, retained } = this;
    const sequence = this.sent + 1;
    if (sequence - this.released > lane.slots) return 0;
    const length = retained.lengthOf(sequence);
    const start = placeMessage(this.tail, length, lane.dataBytes);
    const end = start + alignedLength(length);
    const oldest = this.sent === this.released ? start : this.starts[(this.released + 1) % lane.slots]!;
    if (end - oldest > lane.dataBytes) return 0;
    const slot = sequence % lane.slots;
    const offset = offsetIn(start, lane.dataBytes);
    this.starts[slot] = start;
    this.tail = end;
    this.sent = sequence;
    const { sends } = this.qp;
    const { address, rkey } = lane.memory;
    let added = 0;
    if (length > 0) {
      const data = address + lane.slots * SLOT_BYTES + offset;
      sends.write(at, 0, 0, data, rkey, retained.addressOf(sequence), length, retained.memory.lkey);
      added = 1;
    }
    encodeDescriptor(this.words, SLOT_BYTES / 4, slot, lane.epoch, sequence, offset, length);
    const descriptor = this.staging.address + SLOT_BYTES * (1 + slot);
    sends.write(at + added, 0, 0, address + slot * SLOT_BYTES, rkey, descriptor, SLOT_BYTES, this.staging.lkey);
    return added + 1;
  }

  /** A signaled send work request has completed. */
  sendCompleted(wrId: number): void {
    if (wrId > this.completed && wrId <= this.posted) this.completed = wrId;
  }

  /** A control block has arrived. Answers the acknowledged sequence, or -1 when the consumer sends nonsense. */
  controlArrived(): number {
    this.receivesOwed++;
    const { control } = this;
    if (!decodeControl(this.words, 0, this.lane.epoch, control)) return this.retained.acknowledged;
    if (control.released > this.sent || control.acknowledged > this.sent) return -1;
    if (control.released > this.released) this.released = control.released;
    return control.acknowledged;
  }

  repost(): void {
    this.qp.postEmptyReceives(this.receivesOwed);
    this.receivesOwed = 0;
  }

  close(): void {
    this.channel.onClose = undefined;
    this.channel.onMessage = undefined;
    this.channel.close();
    this.qp.close();
    this.staging.close();
  }
}
