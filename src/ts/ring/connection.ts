// One connection of an outbox to an inbox: a queue pair, the lane at the other side, and the bootstrap channel.
//
// Invariant: the payload of a message is written to the lane before its descriptor: on the same queue pair, so that it is
// there when the descriptor's completion comes, or, where the lane is mapped, by a store. Short ones go behind their
// descriptor, and its checksum says when both are there. Credits (slots and bytes
// of the lane) are never exceeded. A connection that has failed is closed and never used again; the outbox makes a new
// one, and what has its bytes in the lane alone is brought home before.
import { SendFlags } from '../verbs/index.js';
import type { Answer } from './documents.js';
import {
  type Control,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  DescriptorFlags,
  decodeControl,
  emptyDescriptor,
  encodeDescriptor,
  inlineWords,
  LaneState,
  laneImm,
  MAX_BATCH,
  MessageKind,
  publishDescriptor,
  usedSlotBytes,
} from './layout.js';
import type { Payloads } from './payloads.js';
import { Places, slotOf } from './places.js';
import type { PortChannel, PortMapping, PortMemory, PortQueuePair } from './port.js';
import { Home, Phase, type Retained } from './retained.js';

// As constants of this file: what another file exports is looked up at each use, and through an index by a call.
const { SIGNALED } = SendFlags;
const { DATA, SKIP, PULL } = MessageKind;
const { OPEN, READY, GIVEN_UP } = Phase;
const { RETAINED, LANE, PAYLOAD } = Home;
const { INLINE, PAYLOAD_CRC } = DescriptorFlags;
const WORDS = DESCRIPTOR_WORDS;

// The way of the bytes of a message that has its place: none, as there are none here or they are there already; to the data
// ring; to its slot, behind the descriptor.
const NO_WAY = 0;
const TO_RING = 1;
const TO_SLOT = 2;

/** Receives for control blocks. */
export const CONTROL_RECEIVES = 16;
/** A batch ends with the message that makes it this long, so that its reader can begin before the next one is written. */
export const BATCH_BYTES = 1 << 18;
/** WRITEs of neighbouring payloads are joined up to here. */
const MAX_JOINED_BYTES = 1 << 30;
/** Longer payloads are copied as bytes, which makes a view of them. */
const MAX_WORDS_COPIED_BYTES = 1024;
/** Work requests for the descriptors of a batch, where they go round the end of their ring. */
const WRAPPED_DESCRIPTORS = 2;

/** Why a connection writes nothing although there is something to write. */
export type LaneStall = 'slots' | 'bytes' | 'reservation' | 'queue' | 'draining';

/** What a connection is made of. */
export interface ConnectionParts {
  channel: PortChannel;
  qp: PortQueuePair;
  lane: Answer;
  retained: Retained;
  payloads: Payloads;
  /** Control block, then each slot as it is in the lane. */
  staging: PortMemory;
  /** The lane's data ring, where it could be mapped. */
  mapping: PortMapping | undefined;
  /** Its descriptor ring, where the inbox polls it. */
  slots: PortMapping | undefined;
  /** Requests that may be outstanding: as the completion queue was sized, not as the device granted. */
  sendDepth: number;
  /** Descriptors say the checksum of their payload. */
  checksum: boolean;
}

export class Connection {
  readonly channel: PortChannel;
  readonly qp: PortQueuePair;
  readonly lane: Answer;
  /** Last sequence that was written to the lane. */
  sent: number;
  /** Space up to this sequence may be written again. */
  released: number;
  /** Why the last transmit() stopped, while there was more. */
  stall: LaneStall | undefined;
  /** The inbox asked for nothing more. */
  draining = false;
  /** Messages whose bytes had to be copied out of the lane, as their space went back before they were acknowledged. */
  spilled = 0;

  private readonly retained: Retained;
  private readonly payloads: Payloads;
  private readonly staging: PortMemory;
  private readonly mapping: PortMapping | undefined;
  /** The lane's data ring, where it is mapped. */
  readonly data: Uint8Array | undefined;
  private readonly slotMapping: PortMapping | undefined;
  private readonly mappedSlots: Uint32Array | undefined; // where the inbox looks for descriptors
  private readonly dataWords: Int32Array | undefined; // the mapped data ring as words
  private readonly retainedWords: Int32Array;
  private readonly checksum: boolean;
  private readonly words: Uint32Array;
  private readonly places: Places; // of the messages in the lane
  private readonly spaces: Float64Array; // and the bytes that each takes
  private readonly ways: Uint8Array; // and a way for its bytes
  private readonly descriptor = emptyDescriptor();
  private readonly control: Control = { state: 0, released: 0, acknowledged: 0 };
  private readonly sendDepth: number;
  // Keys as signed numbers, which are never objects.
  private readonly laneKey: number;
  private readonly retainedKey: number;
  private readonly retainedAddress: number;
  private readonly stagingKey: number;
  private readonly laneAddress: number;
  private readonly dataAddress: number;
  private readonly stagingAddress: number; // of the first slot
  private readonly inlineBytes: number;
  private readonly slotBytes: number; // a descriptor, and the room behind it
  private readonly slotWords: number;
  private placed: number; // last sequence that has a place in the lane; those after `sent` are reserved
  private reservations = 0; // of this lane, that are open
  private closed = false;
  private posted = 0; // send work requests ever
  private completed = 0; // of those, known to be out of the queue
  private signaled = 0; // `posted` when the last signaled one was posted
  private batch = 0; // messages of the batch that is being filled,
  private outside = 0; // and how many of them have their bytes in the data ring
  private joinable = -1; // offset in the lane behind the last payload of it,
  private joinableFrom = -1; // behind the same in the retained memory,
  private joined = 0; // and the bytes of the WRITE that ends there
  private receivesOwed = 0;

  constructor(parts: ConnectionParts) {
    const { lane, qp, mapping } = parts;
    this.channel = parts.channel;
    this.qp = qp;
    this.lane = lane;
    this.retained = parts.retained;
    this.payloads = parts.payloads;
    this.staging = parts.staging;
    this.mapping = mapping;
    this.data = mapping === undefined ? undefined : new Uint8Array(mapping.buffer);
    this.slotMapping = parts.slots;
    this.mappedSlots = parts.slots === undefined ? undefined : new Uint32Array(parts.slots.buffer);
    this.dataWords = mapping === undefined ? undefined : new Int32Array(mapping.buffer);
    this.retainedWords = new Int32Array(parts.retained.memory.buffer, 0, parts.retained.bytes / 4);
    this.checksum = parts.checksum;
    this.words = new Uint32Array(parts.staging.buffer);
    this.places = new Places(lane.slots, lane.dataBytes);
    this.spaces = new Float64Array(lane.slots);
    this.ways = new Uint8Array(lane.slots);
    this.laneKey = lane.memory.rkey | 0;
    this.retainedKey = parts.retained.memory.lkey | 0;
    this.retainedAddress = parts.retained.memory.address;
    this.stagingKey = parts.staging.lkey | 0;
    this.laneAddress = lane.memory.address;
    this.inlineBytes = lane.inlineBytes;
    this.slotBytes = DESCRIPTOR_BYTES + lane.inlineBytes;
    this.slotWords = this.slotBytes / 4;
    this.dataAddress = lane.memory.address + lane.slots * this.slotBytes;
    this.stagingAddress = parts.staging.address + DESCRIPTOR_BYTES;
    this.sendDepth = Math.min(parts.sendDepth, qp.capabilities.maxSendWr);
    this.sent = lane.delivered;
    this.released = lane.delivered;
    this.placed = lane.delivered;
  }

  /** True when the lane is mapped: messages can be built in it. */
  get isMapped(): boolean {
    return this.data !== undefined;
  }

  // ---- Places in the lane

  // Whether the next message to be placed, of `space` bytes, has credit; says why not in `stall`.
  private hasCredit(space: number): boolean {
    const { lane, placed, released } = this;
    if (this.draining) return this.stop('draining');
    if (placed - released >= lane.slots) return this.stop('slots');
    const first = placed === released ? -1 : slotOf(released + 1, lane.slots);
    return this.places.fits(space, first) || this.stop('bytes');
  }

  private stop(why: LaneStall): false {
    this.stall = why;
    return false;
  }

  private place(sequence: number, space: number, way: number): void {
    const slot = slotOf(sequence, this.lane.slots);
    this.places.put(slot, space);
    this.spaces[slot] = space;
    this.ways[slot] = way;
    this.placed = sequence;
  }

  /** True when the next message that is taken can be built in the lane itself: everything before it has its place. */
  takesInLane(space: number): boolean {
    return this.data !== undefined && this.placed === this.retained.last && this.hasCredit(space);
  }

  /** Gives message `sequence`, the last one taken, its place in the lane; takesInLane() was true for it. */
  placeInLane(sequence: number, space: number): void {
    this.place(sequence, space, NO_WAY);
  }

  /** Where a message that was placed in the lane begins in {@link Connection.data}. */
  offsetOf(sequence: number): number {
    return this.places.offsetOf(slotOf(sequence, this.lane.slots));
  }

  /** Copies a part of message `sequence`, which was placed in the lane, to `at` bytes behind its start. */
  fillInLane(sequence: number, at: number, part: Uint8Array): void {
    this.data!.set(part, this.offsetOf(sequence) + at);
  }

  private bytesInLane(sequence: number): Uint8Array {
    const offset = this.offsetOf(sequence);
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

  /** Writes what is ready and has credit; answers how many messages that were. */
  transmit(): number {
    const { qp } = this;
    const before = this.sent;
    if (this.mappedSlots !== undefined) {
      this.publish(this.mappedSlots);
      return this.sent - before;
    }
    const { lane, polled } = this.lane;
    for (let requests = this.fill(); requests > 0; requests = this.fill()) {
      this.posted += requests;
      // Signaled often enough that the queue never fills up with what nobody hears of.
      const signal = this.posted - this.signaled >= this.sendDepth / 4;
      if (signal) this.signaled = this.posted;
      const flags = signal ? SIGNALED : 0;
      // An inbox that polls finds what is all in its slots; what is in the data ring is there for sure with a completion only.
      const announced = polled ? this.outside : this.batch;
      if (announced > 0) qp.sends.addImm(requests - 1, flags, laneImm(lane, announced));
      else qp.sends.setFlags(requests - 1, flags);
      qp.sends.setWrId(requests - 1, this.posted);
      qp.postSend(requests);
    }
    return this.sent - before;
  }

  // Into a mapped lane that the inbox polls: by stores alone. Of a batch the first message is shown last: the inbox looks at its
  // slot all the time, and each look takes that memory away from who stores there.
  private publish(mappedSlots: Uint32Array): void {
    const { retained } = this;
    this.stall = undefined;
    while (this.sent < retained.last) {
      const first = this.sent + 1;
      if (!this.isReady(first)) return;
      this.prepare(first);
      const last = first === retained.last ? first : this.showRest(mappedSlots, first);
      this.show(mappedSlots, first);
      this.sent = last;
    }
  }

  // Shows what follows `first` in its batch; answers the last message of that.
  private showRest(mappedSlots: Uint32Array, first: number): number {
    const { retained } = this;
    let sequence = first;
    let bytes = retained.lengthOf(first);
    while (sequence < retained.last && bytes < BATCH_BYTES && this.isReady(sequence + 1)) {
      sequence++;
      this.prepare(sequence);
      this.show(mappedSlots, sequence);
      bytes += retained.lengthOf(sequence);
    }
    return sequence;
  }

  private prepare(sequence: number): void {
    if (this.hasPayload(sequence)) this.bringToLane(sequence);
    this.describe(sequence);
  }

  private show(mappedSlots: Uint32Array, sequence: number): void {
    const slot = slotOf(sequence, this.lane.slots);
    publishDescriptor(this.words, this.stagedAt(slot), mappedSlots, slot * WORDS);
  }

  // Copies message `sequence` from the retained memory into the mapped lane.
  private bringToLane(sequence: number): void {
    const { retained } = this;
    const from = retained.offsetOf(sequence);
    const to = this.offsetOf(sequence);
    const length = retained.lengthOf(sequence);
    if (length > MAX_WORDS_COPIED_BYTES) {
      this.data!.set(retained.data.subarray(from, from + length), to);
      return;
    }
    // A view of the bytes would be an object. Both begin at whole words.
    const words = length >> 2;
    const fromWord = from / 4;
    const toWord = to / 4;
    const { dataWords, retainedWords, data } = this;
    for (let i = 0; i < words; i++) dataWords![toWord + i] = retainedWords[fromWord + i]!;
    for (let i = words << 2; i < length; i++) data![to + i] = retained.data[from + i]!;
  }

  // The work requests of the next batch: the payloads, then the descriptors. Answers how many; there are `batch` messages in it.
  private fill(): number {
    const { retained } = this;
    const { last } = retained;
    const most =
      Math.min(this.qp.sends.capacity, this.sendDepth - (this.posted - this.completed)) - WRAPPED_DESCRIPTORS;
    const first = this.sent + 1;
    let requests = 0;
    let bytes = 0;
    this.batch = 0;
    this.outside = 0;
    this.joinable = -1;
    this.stall = undefined;
    while (this.sent < last && this.batch < MAX_BATCH && bytes < BATCH_BYTES) {
      if (requests >= most) {
        this.stall = 'queue';
        break;
      }
      const sequence = this.sent + 1;
      if (!this.isReady(sequence)) break;
      this.describe(sequence);
      if (this.hasPayload(sequence)) {
        requests += this.writePayload(requests, sequence);
        bytes += retained.lengthOf(sequence);
        this.outside++;
      }
      bytes += this.slotBytes;
      this.sent = sequence;
      this.batch++;
    }
    return this.batch === 0 ? 0 : requests + this.writeDescriptors(requests, first);
  }

  // Gives message `sequence`, the next one, its place; false when it cannot go yet.
  private isReady(sequence: number): boolean {
    const { retained } = this;
    if (retained.phaseOf(sequence) === OPEN) return this.stop('reservation');
    if (sequence <= this.placed) return true;
    const length = retained.homeOf(sequence) === RETAINED ? retained.lengthOf(sequence) : 0;
    const isInline = length > 0 && length <= this.inlineBytes;
    const space = isInline ? 0 : length;
    if (!this.hasCredit(space)) return false;
    this.place(sequence, space, isInline ? TO_SLOT : space > 0 ? TO_RING : NO_WAY);
    return true;
  }

  // Word of the staging memory at which a slot begins.
  private stagedAt(slot: number): number {
    return WORDS + slot * this.slotWords;
  }

  // Makes the descriptor of message `sequence`, which has its place.
  private describe(sequence: number): void {
    const { lane, retained, descriptor } = this;
    const phase = retained.phaseOf(sequence);
    const slot = slotOf(sequence, lane.slots);
    descriptor.sequence = sequence;
    descriptor.offset = this.places.offsetOf(slot);
    descriptor.space = this.spaces[slot]!;
    descriptor.length = retained.lengthOf(sequence);
    descriptor.flags = this.checksum ? PAYLOAD_CRC : 0;
    descriptor.payloadCrc = retained.crcOf(sequence);
    descriptor.kind = phase === GIVEN_UP ? SKIP : DATA;
    descriptor.address = 0;
    descriptor.rkey = 0;
    if (retained.homeOf(sequence) === PAYLOAD && phase === READY) this.describePayload(sequence);
    const at = this.stagedAt(slot);
    if (this.ways[slot] === TO_SLOT) {
      descriptor.flags |= INLINE;
      this.stageInline(at + WORDS, retained.offsetOf(sequence), descriptor.length);
    }
    encodeDescriptor(this.words, at, lane.epoch, descriptor);
  }

  // Copies a message from the retained memory, where it begins at a whole word, to the words from `to` on.
  private stageInline(to: number, from: number, length: number): void {
    const { words, retainedWords } = this;
    const count = inlineWords(length);
    const first = from / 4;
    for (let i = 0; i < count; i++) words[to + i] = retainedWords[first + i]!;
    const rest = (length & 3) * 8;
    // What follows it in the retained memory is none of the inbox's business.
    if (rest > 0) words[to + count - 1]! &= (1 << rest) - 1;
  }

  private hasPayload(sequence: number): boolean {
    return this.ways[slotOf(sequence, this.lane.slots)] === TO_RING;
  }

  // The WRITE of the message that describe() has described, at index `at`; or the one before it, at both sides its neighbour,
  // becomes longer. Answers how many requests were added. Addresses go by calls that are always inlined: a number beyond 2^31
  // would be an object as an argument.
  private writePayload(at: number, sequence: number): 0 | 1 {
    const { retained, descriptor } = this;
    const { sends } = this.qp;
    const { offset, length } = descriptor;
    const from = retained.offsetOf(sequence);
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

  // The descriptors of the batch that begins with message `first`: one WRITE, or two where they go round the end of the ring.
  private writeDescriptors(at: number, first: number): 1 | 2 {
    const { slots } = this.lane;
    const slot = slotOf(first, slots);
    const straight = Math.min(this.batch, slots - slot);
    this.writeSlots(at, slot, straight);
    if (straight === this.batch) return 1;
    this.writeSlots(at + 1, 0, this.batch - straight);
    return 2;
  }

  private writeSlots(at: number, slot: number, count: number): void {
    const { slotBytes } = this;
    const { sends } = this.qp;
    // Up to the end of the last message.
    const length = (count - 1) * slotBytes + usedSlotBytes(this.words, this.stagedAt(slot + count - 1));
    sends.write(at, 0, 0, 0, this.laneKey, 0, length, this.stagingKey);
    sends.setRemoteAddress(at, this.laneAddress + slot * slotBytes);
    sends.setAddress(at, this.stagingAddress + slot * slotBytes);
  }

  private describePayload(sequence: number): void {
    const { memory } = this.payloads.of(sequence);
    this.descriptor.kind = PULL;
    this.descriptor.address = memory.address;
    this.descriptor.rkey = memory.rkey;
  }

  /** A signaled send work request has completed. */
  sendCompleted(wrId: number): void {
    if (wrId > this.completed && wrId <= this.posted) this.completed = wrId;
  }

  // ---- What the inbox says

  /** A control block has arrived. Answers the acknowledged sequence, or -1 when the consumer sends nonsense. */
  controlArrived(): number {
    this.receivesOwed++;
    const { control } = this;
    if (!decodeControl(this.words, 0, this.lane.epoch, control)) return this.retained.acknowledged;
    if (control.released > this.sent || control.acknowledged > this.sent) return -1;
    if (control.state !== LaneState.OPEN) this.draining = true;
    if (control.released > this.released) {
      if (this.data !== undefined) this.spill(control.released, control.acknowledged);
      this.released = control.released;
    }
    return control.acknowledged;
  }

  // What was built in the lane, and loses its space there before it may be forgotten, is brought home.
  private spill(released: number, acknowledged: number): void {
    for (let sequence = Math.max(this.released, acknowledged) + 1; sequence <= released; sequence++) {
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

  /** Ends the connection. What has its bytes in the lane alone is brought home; reservations that are open stay usable. */
  close(): void {
    if (this.closed) return;
    this.channel.onClose = undefined;
    this.channel.onMessage = undefined;
    this.channel.close();
    this.qp.close();
    this.staging.close();
    this.slotMapping?.close();
    const { retained } = this;
    for (let sequence = retained.acknowledged + 1; this.data !== undefined && sequence <= this.placed; sequence++) {
      // An open one is brought home when it is committed.
      if (retained.homeOf(sequence) !== LANE || retained.phaseOf(sequence) === OPEN) continue;
      retained.bring(sequence, this.bytesInLane(sequence));
    }
    this.closed = true;
    if (this.reservations === 0) this.mapping?.close();
  }
}
