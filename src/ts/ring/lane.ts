// A lane at the consumer: one producer's queue pair and its pair of rings in the inbox's memory.
//
// Invariant: no byte of the lane has two possible writers. The memory belongs to one lane for its whole life: a lane
// that was fenced is never written again (queue pair destroyed, key revoked, mapped pages detached), and a new lane gets
// new memory. Space is given back strictly in order; offsets and lengths of the producer are compared with what they
// must be.
import { RdmaError } from '../core/errors.js';
import { AccessFlags, crc32cOf, type PortAddress, SendFlags } from '../verbs/index.js';
import { type Answer, MAX_PULL_BYTES, type Offer } from './documents.js';
import {
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  DescriptorFlags,
  decodeDescriptor,
  emptyDescriptor,
  encodeControl,
  LaneState,
  MessageKind,
  PULL_DEPTH,
  showsSequence,
} from './layout.js';
import { InboxMessage, type MessageLane, type Puller } from './message.js';
import { Places, slotOf } from './places.js';
import type { PortDomain, PortMemory, PortQueuePair } from './port.js';
import type { PullJob, PullLane } from './pulls.js';
import type { Session } from './session.js';
import type { LaneStatus } from './status.js';

/** What a lane needs from its inbox. */
export interface LaneHost extends Puller {
  readonly address: PortAddress;
  /** The largest message that is pulled; 0: none. */
  readonly maxPullBytes: number;
  /** The lane has something to tell its producer. */
  markDirty(lane: Lane): void;
  /** The time, for the age of a message: perhaps of some polls ago. */
  nowMs(): number;
  /** The time right now. */
  clockMs(): number;
  /** A queue pair and memory in a protection domain of their own: the key of one lane opens no other. */
  createLaneParts(slots: number, bytes: number, access: number): LaneParts;
}

export interface LaneParts {
  pd: PortDomain;
  qp: PortQueuePair;
  memory: PortMemory;
}

/** The work request of a control block; receives are 0. A number that never is an object. */
export const CONTROL_WR_ID = 2 ** 29;
/** Send work requests of a lane: its report, and READs. */
export const SEND_DEPTH = 2 + PULL_DEPTH;
const { SIGNALED } = SendFlags;
const { DATA, SKIP, PULL } = MessageKind;
const { INLINE, PAYLOAD_CRC } = DescriptorFlags;
const INLINE_AT = DESCRIPTOR_BYTES;
const QP_ACCESS = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE;

/** How long a descriptor may be half stored; and half written, of which a network may have to send the rest again. */
const TORN_MS = { mapped: 1000, written: 5000 };
/** After so many looks in vain for the completion of what is there the queue is not looked at more often for it. */
const MOST_AWAITED_LOOKS = 1024;

/** How large a lane is, and what it allows. */
export interface LaneShape {
  slots: number;
  dataBytes: number;
  /** Room for a message behind each descriptor. */
  inlineBytes: number;
  /** Its producer may map it. */
  inPlace: boolean;
  /** Messages are found by looking at the next slot. */
  polled: boolean;
}

/** A producer's pair of rings, as a loop that calls {@link Inbox.poll} sees it. */
export class Lane implements MessageLane, PullLane {
  /** Its number in the inbox; a later lane may have it again. */
  readonly id: number;
  /** @internal */
  readonly session: Session<Lane>;
  /** @internal */
  readonly epoch: number;
  /** Messages that it holds at most. */
  readonly slots: number;
  /** Bytes of the data ring. */
  readonly dataBytes: number;
  /** @internal Its messages are found by {@link Lane.arrived}. */
  readonly polled: boolean;
  /** The memory of the lane, in which messages lie. */
  readonly data: Uint8Array;
  /** Where the message that was read begins in {@link Lane.data}, unless it is to be pulled. */
  offset = 0;
  /** @internal */
  readonly qp: PortQueuePair;
  /** @internal Set when the lane is to be fenced, with the reason. */
  condemned: RdmaError | undefined;
  /** @internal The producer broke the protocol: nothing more that it announces is believed. */
  broken = false;
  /** @internal */
  fenced = false;
  /** @internal Bookkeeping of the inbox: in its list of lanes with news, or with used receives. */
  dirty = false;
  /** @internal */
  touched = false;
  /** @internal Announced and not taken; see turns.ts. */
  waiting = 0;
  /** @internal */
  queued = false;
  /** @internal */
  deficit = 0;
  /** @internal READs under way, oldest first; see pulls.ts. */
  readonly reads: { job: PullJob; length: number }[] = [];

  private readonly shape: LaneShape;
  private readonly pd: PortDomain;
  private readonly memory: PortMemory;
  private readonly controlAt: number; // where control blocks are written from, behind the data ring
  private readonly controlWords: Uint32Array;
  private readonly host: LaneHost;
  private readonly words: Uint32Array;
  // The next message has been seen, and a completion must come before its bytes may be read: their order is known to the
  // device, not to who looks at memory (InfiniBand Architecture Specification, C9-10 and o9-20).
  private awaitsLanding = false;
  private awaited = 0; // looks in vain for that
  private landed = 0; // messages of the data ring that have arrived for sure and were not taken, where it is polled
  private readonly slotWords: number;
  private readonly dataAt: number; // where the data ring begins
  private peeked = false; // arrived() has read the next message
  private tornSinceMs = -1; // when arrived() began to find a wrong descriptor in the place of the next one
  private readonly descriptor = emptyDescriptor();
  private readonly remote: Offer['control'];
  // Keys as signed numbers, which are never objects.
  private readonly remoteKey: number;
  private readonly localKey: number;
  private readonly controlAddress: number;
  private readonly firstSequence: number;
  private taken: number; // last sequence taken from this lane
  private released: number; // last sequence whose space, and that of all before it, was given back
  private readonly releasedFlags: Uint8Array;
  private readonly places: Places; // of the messages that are held
  private receivesOwed = 0;
  private peerReady = false;
  private controlInFlight = false;
  private state: number = LaneState.OPEN;
  private reportedState: number = LaneState.OPEN;
  private reportedReleased: number;
  private reportedAcknowledged: number;
  private reportedTail = 0;
  private memoryClosed = false;
  private messages = 0;
  private bytes = 0;
  private reports = 0;

  /** @internal */
  constructor(id: number, session: Session<Lane>, host: LaneHost, offer: Offer, shape: LaneShape) {
    const { slots, dataBytes, inPlace } = shape;
    this.id = id;
    this.session = session;
    this.host = host;
    this.shape = shape;
    this.epoch = ++session.epoch;
    this.slots = slots;
    this.dataBytes = dataBytes;
    this.polled = shape.polled;
    this.firstSequence = session.delivered + 1;
    this.taken = session.delivered;
    this.released = session.delivered;
    this.reportedReleased = session.delivered;
    this.reportedAcknowledged = session.acknowledged;
    this.releasedFlags = new Uint8Array(slots);
    this.places = new Places(slots, dataBytes);
    this.remote = offer.control;
    this.slotWords = (DESCRIPTOR_BYTES + shape.inlineBytes) / 4;
    const ringBytes = slots * this.slotWords * 4;
    this.dataAt = ringBytes;
    this.controlAt = ringBytes + dataBytes;
    const access = QP_ACCESS | (inPlace ? AccessFlags.REMOTE_MAP : 0);
    const { pd, qp, memory } = host.createLaneParts(slots, this.memoryBytes, access);
    this.pd = pd;
    this.qp = qp;
    this.memory = memory;
    this.remoteKey = offer.control.rkey | 0;
    this.localKey = memory.lkey | 0;
    this.controlAddress = memory.address + this.controlAt;
    this.words = new Uint32Array(memory.buffer, 0, ringBytes / 4);
    this.data = new Uint8Array(memory.buffer, 0, ringBytes + dataBytes);
    this.controlWords = new Uint32Array(memory.buffer, this.controlAt, DESCRIPTOR_WORDS);
    try {
      qp.toInit(host.address, QP_ACCESS);
      this.receivesOwed = slots;
      this.repost();
      qp.toReadyToReceive(host.address, offer.endpoint);
      qp.toReadyToSend();
    } catch (error) {
      pd.close();
      throw error;
    }
    session.lane = this;
  }

  /** Bytes that the lane takes at the inbox: descriptors, data ring and the report. */
  get memoryBytes(): number {
    return this.controlAt + DESCRIPTOR_BYTES;
  }

  /** @internal What the producer must know. */
  answer(inbox: string): Answer {
    return {
      type: 'answer',
      inbox,
      lane: this.id,
      epoch: this.epoch,
      slots: this.slots,
      dataBytes: this.dataBytes,
      memory: { address: this.memory.address, rkey: this.memory.rkey },
      inlineBytes: this.shape.inlineBytes,
      inPlace: this.shape.inPlace,
      polled: this.polled,
      maxPullBytes: this.host.maxPullBytes,
      delivered: this.session.delivered,
      acknowledged: this.session.acknowledged,
      endpoint: this.qp.endpoint(this.host.address),
    };
  }

  /** @internal The producer's queue pair is connected. */
  onReady(): void {
    this.peerReady = true;
    this.flush(true);
  }

  /** @internal Something has arrived: its producer is connected, whether or not it has said so yet. */
  heard(): void {
    this.peerReady = true;
  }

  /** @internal */
  get isReady(): boolean {
    return this.peerReady && !this.qp.closed;
  }

  /** Delivered on this lane and still readable. */
  get held(): number {
    return this.taken - this.released;
  }

  // Slot of the oldest message that is held; -1: none is.
  private get first(): number {
    return this.taken === this.released ? -1 : slotOf(this.released + 1, this.slots);
  }

  /** Bytes of the data ring that cannot be written now. */
  get heldBytes(): number {
    return this.places.takenFrom(this.first);
  }

  // ---- The message that take() has read

  /** Its sequence: 1, 2, 3 ... for each producer incarnation; one that was given up is left out. */
  get sequence(): number {
    return this.descriptor.sequence;
  }

  /** Its length in bytes. */
  get length(): number {
    return this.descriptor.length;
  }

  /** True when only its descriptor is here: make it a {@link Lane.message} and pull that. */
  get isPulled(): boolean {
    return this.descriptor.kind === PULL;
  }

  /** True when the message is to be passed over. @internal */
  get isSkipped(): boolean {
    return this.descriptor.kind === SKIP;
  }

  /** It as an object, which can be kept. */
  message(): InboxMessage {
    const { session, descriptor, offset } = this;
    const { sequence, length, address, rkey, flags, payloadCrc } = descriptor;
    if (descriptor.kind !== PULL) {
      return new InboxMessage(this, this.data.subarray(offset, offset + length), undefined, this.host);
    }
    const crc = (flags & PAYLOAD_CRC) !== 0 ? payloadCrc : undefined;
    return new InboxMessage(this, undefined, { session, sequence, address, rkey, length, crc }, this.host);
  }

  /**
   * @internal True when the next message of a polled lane is there, and can be taken. A descriptor that stays half written for
   * long condemns the lane: its producer has died or stands still in the middle of it.
   */
  arrived(): boolean {
    if (this.peeked) return true;
    if (this.broken || this.memoryClosed) return false;
    const { words, descriptor, shape } = this;
    const sequence = this.taken + 1;
    const at = slotOf(sequence, this.slots) * this.slotWords;
    if (!showsSequence(words, at, sequence)) return false;
    if (!decodeDescriptor(words, at, this.epoch, shape.inlineBytes, descriptor)) return this.torn(sequence);
    this.tornSinceMs = -1;
    if (this.needsLanding && this.landed === 0) {
      this.awaitsLanding = ++this.awaited <= MOST_AWAITED_LOOKS;
      return false;
    }
    this.awaitsLanding = false;
    this.awaited = 0;
    this.peeked = true;
    this.peerReady = true;
    return true;
  }

  // Whether the message whose descriptor was read has its bytes where only a completion says that they are there.
  private get needsLanding(): boolean {
    const { space, flags } = this.descriptor;
    return space > 0 && !this.shape.inPlace && (flags & INLINE) === 0;
  }

  /** @internal So many messages have arrived in the data ring of a polled lane. False: there cannot be so many. */
  land(count: number): boolean {
    this.landed += count;
    return !this.shape.inPlace && this.landed <= this.slots;
  }

  private torn(sequence: number): false {
    const now = this.host.clockMs();
    if (this.tornSinceMs < 0) this.tornSinceMs = now;
    if (now - this.tornSinceMs < (this.shape.inPlace ? TORN_MS.mapped : TORN_MS.written)) return false;
    return this.condemn(`the descriptor of message ${sequence} fails its checksum or has another epoch`);
  }

  /**
   * @internal Reads the next message, which a completion has announced, or arrived() has found. A descriptor that is not exactly the one that
   * must come condemns the lane, and false is answered.
   */
  take(): boolean {
    const { session, descriptor } = this;
    const sequence = this.taken + 1;
    const slot = slotOf(sequence, this.slots);
    const at = slot * this.slotWords;
    if (this.peeked) {
      this.peeked = false;
      if (this.needsLanding) this.landed--;
    } else if (!decodeDescriptor(this.words, at, this.epoch, this.shape.inlineBytes, descriptor)) {
      return this.condemn(`the descriptor of message ${sequence} fails its checksum or has another epoch`);
    }
    if (descriptor.sequence !== sequence) {
      return this.condemn(`message ${descriptor.sequence} came where ${sequence} must come`);
    }
    const wrong = this.wrongSize();
    if (wrong !== undefined) return this.condemn(`message ${sequence} ${wrong}`);
    if (this.held >= this.slots || session.full) return this.condemn(`message ${sequence} was sent without credit`);
    const { places } = this;
    const { space } = descriptor;
    if (descriptor.offset !== places.nextOffset(space) || !places.fits(space, this.first)) {
      return this.condemn(`message ${sequence} lies at ${descriptor.offset}, where it must not lie`);
    }
    const isInline = (descriptor.flags & INLINE) !== 0;
    this.offset = isInline ? at * 4 + INLINE_AT : this.dataAt + descriptor.offset;
    if ((descriptor.flags & PAYLOAD_CRC) !== 0 && descriptor.kind === DATA) {
      const crc = crc32cOf(this.data, this.offset, descriptor.length);
      if (crc !== descriptor.payloadCrc) return this.condemn(`the payload of message ${sequence} fails its checksum`);
    }
    places.put(slot, space);
    this.taken = sequence;
    session.deliver(this.host.nowMs());
    this.messages++;
    this.bytes += descriptor.length;
    return true;
  }

  // What is wrong with kind, length and space of the descriptor.
  private wrongSize(): string | undefined {
    const { kind, length, space, address, flags } = this.descriptor;
    if (space > this.dataBytes) return `claims ${space} bytes of a ring of ${this.dataBytes}`;
    if ((flags & INLINE) !== 0) {
      const fits = kind === DATA && space === 0 && length > 0 && length <= this.shape.inlineBytes;
      return fits ? undefined : `claims ${length} bytes behind its descriptor, of ${this.shape.inlineBytes}`;
    }
    if (kind === DATA) return length > space ? `claims ${length} bytes in a place of ${space}` : undefined;
    if (kind === SKIP) return length > 0 ? 'is to be skipped and has a length' : undefined;
    if (kind !== PULL) return `is of kind ${kind}, which is not known`;
    if (length > Math.min(this.host.maxPullBytes, MAX_PULL_BYTES)) {
      return `is to be pulled and has ${length} bytes, of ${this.host.maxPullBytes} that are allowed`;
    }
    return space > 0 || !Number.isSafeInteger(address) ? 'is to be pulled from nowhere' : undefined;
  }

  /** @internal The producer does not keep to the protocol. */
  condemn(why: string): false {
    this.broken = true;
    this.condemned ??= new RdmaError('RDMA_ERR_PROTOCOL', `lane ${this.id} of ${this.session.name}: ${why}`);
    return false;
  }

  // ---- What the application gives back

  /** The space of a message may be written again. Order does not matter; a second time does nothing. */
  release(sequence: number): void {
    if (sequence <= this.released || sequence > this.taken || sequence < this.firstSequence) return;
    const { slots, releasedFlags } = this;
    let slot = slotOf(sequence, slots);
    releasedFlags[slot] = 1;
    // Only the oldest one moves the bound.
    if (sequence === this.released + 1) {
      while (this.released < this.taken && releasedFlags[slot] === 1) {
        this.released++;
        releasedFlags[slot] = 0;
        slot = slot + 1 === slots ? 0 : slot + 1;
      }
    }
    if (!this.fenced) this.host.markDirty(this);
    else if (this.held === 0) this.closeMemory();
  }

  /**
   * The producer may forget a message.
   *
   * @throws RdmaError RDMA_ERR_BUSY while it is being pulled
   */
  acknowledge(sequence: number): void {
    const { session } = this;
    if (session.isPulling(sequence)) {
      throw new RdmaError('RDMA_ERR_BUSY', `message ${sequence} of ${session.name} is being pulled`, {
        remedy: 'acknowledge it when pull() has ended',
      });
    }
    // A message of a lane that was fenced is reported by the lane that the producer has now.
    if (session.acknowledge(sequence) && session.lane !== undefined) this.host.markDirty(session.lane);
  }

  // ---- Receives and reports

  /** @internal A receive was used; it is posted again with the next repost(). */
  receiveUsed(): void {
    this.receivesOwed++;
  }

  /**
   * @internal Posts receives again when a quarter of them was used. Those that are left are enough until the next report:
   * the producer has no more messages under way than slots that it knows to be free, and before it is told of free ones
   * every receive is posted again.
   */
  repostSome(): void {
    if (this.receivesOwed * 4 >= this.slots) this.repost();
  }

  private repost(): void {
    this.qp.postEmptyReceives(this.receivesOwed);
    this.receivesOwed = 0;
  }

  /** @internal The producer is told to send nothing more. */
  drain(): void {
    this.state = LaneState.DRAINING;
    this.flush(true);
  }

  /**
   * @internal Tells the producer what was released and acknowledged, if there is news and the last report has arrived.
   *
   * @param all also small news; else only when a quarter of the lane waits to be reported
   */
  flush(all: boolean): void {
    if (this.fenced || !this.peerReady || this.controlInFlight || this.qp.closed) return;
    const { released } = this;
    const { acknowledged } = this.session;
    const news = released - this.reportedReleased;
    const told = acknowledged === this.reportedAcknowledged && this.state === this.reportedState;
    if (news === 0 && told) return;
    if (!all && news < this.slots / 4 && this.places.tail - this.reportedTail < this.dataBytes / 4) return;
    this.repost();
    encodeControl(this.controlWords, 0, this.epoch, this.state, released, acknowledged);
    const { sends } = this.qp;
    sends.writeWithImm(0, 0, SIGNALED, this.id, 0, this.remoteKey, 0, DESCRIPTOR_BYTES, this.localKey);
    sends.setWrId(0, CONTROL_WR_ID);
    sends.setRemoteAddress(0, this.remote.address);
    sends.setAddress(0, this.controlAddress);
    this.controlInFlight = true;
    this.reportedState = this.state;
    this.reportedReleased = released;
    this.reportedAcknowledged = acknowledged;
    this.reportedTail = this.places.startOf(this.first);
    this.reports++;
    this.qp.postSend(1);
  }

  /** @internal True while the producer has not been told everything, and can be. */
  get reporting(): boolean {
    if (this.fenced || this.condemned !== undefined || !this.peerReady || this.qp.closed) return false;
    const told = this.released === this.reportedReleased && this.session.acknowledged === this.reportedAcknowledged;
    return this.controlInFlight || !told || this.state !== this.reportedState;
  }

  /** @internal True while the completion queue is about to have something for it: a report that has arrived, a READ, bytes. */
  get waits(): boolean {
    return this.controlInFlight || this.awaitsLanding || this.reads.length > 0;
  }

  /** @internal The report has arrived. */
  controlSent(): void {
    this.controlInFlight = false;
  }

  /** @internal Registers memory into which this lane's queue pair may READ. */
  registerForPull(buffer: Uint8Array, access: number): PortMemory {
    return this.pd.registerMemory({ buffer, access });
  }

  /** @internal */
  status(now: number): LaneStatus {
    const { session } = this;
    return {
      lane: this.id,
      from: session.name,
      producer: session.producer,
      epoch: this.epoch,
      slots: this.slots,
      dataBytes: this.dataBytes,
      memoryBytes: this.memoryBytes,
      inlineBytes: this.shape.inlineBytes,
      inPlace: this.shape.inPlace,
      polled: this.polled,
      messages: this.messages,
      bytes: this.bytes,
      reports: this.reports,
      heldMessages: this.held,
      heldBytes: this.heldBytes,
      waitingMessages: this.waiting,
      unacknowledgedMessages: session.delivered - session.acknowledged,
      oldestUnacknowledgedMs: session.oldestMs(now),
    };
  }

  // ---- End

  /** @internal The queue pair to ERR: what the producer has under way ends, what has arrived can still be polled. */
  stop(): void {
    try {
      if (!this.qp.closed) this.qp.toError();
    } catch {
      // A queue pair that cannot be stopped is destroyed all the same.
    }
  }

  /**
   * @internal Ends the producer's access for good. What was delivered stays readable until it is released.
   *
   * @returns false when that could not be proved, as a late writer may still be inside: the memory is quarantined
   */
  fence(): boolean {
    this.fenced = true;
    if (this.session.lane === this) this.session.lane = undefined;
    let revoked = true;
    try {
      this.qp.close();
    } catch {
      revoked = false;
    }
    try {
      // Without views that are held nobody looks at the memory again, and there is nothing to be kept.
      if (this.held > 0) this.memory.deregister();
    } catch {
      revoked = false;
    }
    if (this.held === 0 && !this.closeMemory()) revoked = false;
    return revoked;
  }

  /** @internal Takes the memory away from views that are still held. Answers false when the device does not let go of it. */
  closeMemory(): boolean {
    if (this.memoryClosed) return true;
    this.memoryClosed = true;
    try {
      this.pd.close();
      return true;
    } catch {
      // It was or will be counted as quarantined, and ends with the device.
      return false;
    }
  }
}
