// A lane at the consumer: one producer's queue pair and its pair of rings in the inbox's memory.
//
// Invariant: no byte of the lane has two possible writers. The memory belongs to one lane for its whole life: a lane
// that was fenced is never written again (queue pair destroyed, key revoked), and a new lane gets new memory. Space
// is given back strictly in order; offsets and lengths of the producer are compared with what they must be.
import { RdmaError } from '../core/errors.js';
import { AccessFlags, type PortAddress, SendFlags } from '../verbs/index.js';
import type { Answer, Offer } from './documents.js';
import {
  alignedLength,
  type Descriptor,
  decodeDescriptor,
  encodeControl,
  LaneState,
  MessageKind,
  offsetIn,
  placeMessage,
  SLOT_BYTES,
} from './layout.js';
import type { PortDomain, PortMemory, PortQueuePair } from './port.js';
import type { Session } from './session.js';

/** What a lane needs from its inbox. */
export interface LaneHost {
  readonly address: PortAddress;
  /** The lane has something to tell its producer. */
  markDirty(lane: Lane): void;
  /** A queue pair and memory in a protection domain of their own: the key of one lane opens no other. */
  createLaneParts(
    slots: number,
    bytes: number,
    access: number,
  ): { pd: PortDomain; qp: PortQueuePair; memory: PortMemory };
}

/** The work request of a control block; receives are 0. */
export const CONTROL_WR_ID = 2 ** 40;
const LANE_ACCESS = AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE;

/** Counters of one lane; sizes in bytes. */
export interface LaneCounters {
  messages: number;
  bytes: number;
  controls: number;
}

export class Lane {
  readonly id: number;
  readonly session: Session;
  readonly epoch: number;
  readonly slots: number;
  readonly dataBytes: number;
  /** The data ring. */
  readonly data: Uint8Array;
  readonly qp: PortQueuePair;
  readonly counters: LaneCounters = { messages: 0, bytes: 0, controls: 0 };
  /** Set when the lane is to be fenced, with the reason. */
  condemned: RdmaError | undefined;
  /** The producer broke the protocol: nothing more of this lane is believed. */
  broken = false;
  fenced = false;
  /** Bookkeeping of the inbox: in its list of lanes with news, or with used receives. */
  dirty = false;
  touched = false;
  /** The message that take() has read. */
  offset = 0;
  length = 0;
  sequence = 0;

  private readonly pd: PortDomain;
  private readonly memory: PortMemory;
  private readonly controlAt: number; // where control blocks are written from, behind the data ring
  private readonly controlWords: Uint32Array;
  private readonly host: LaneHost;
  private readonly words: Uint32Array;
  private readonly descriptor: Descriptor = { kind: 0, sequence: 0, offset: 0, length: 0 };
  private readonly remote: Offer['control'];
  private readonly firstSequence: number;
  private taken: number; // last sequence taken from this lane
  private tail = 0; // position behind the last message
  private released: number; // last sequence whose space, and that of all before it, was given back
  private readonly releasedFlags: Uint8Array;
  private readonly starts: Float64Array; // position of each message that is held
  private receivesOwed = 0;
  private peerReady = false;
  private controlInFlight = false;
  private reportedReleased: number;
  private reportedAcknowledged: number;
  private reportedTail = 0;
  private memoryClosed = false;

  constructor(id: number, session: Session, host: LaneHost, offer: Offer, slots: number, dataBytes: number) {
    this.id = id;
    this.session = session;
    this.host = host;
    this.epoch = ++session.epoch;
    this.slots = slots;
    this.dataBytes = dataBytes;
    this.firstSequence = session.delivered + 1;
    this.taken = session.delivered;
    this.released = session.delivered;
    this.reportedReleased = session.delivered;
    this.reportedAcknowledged = session.acknowledged;
    this.releasedFlags = new Uint8Array(slots);
    this.starts = new Float64Array(slots);
    this.remote = offer.control;
    const ringBytes = slots * SLOT_BYTES;
    this.controlAt = ringBytes + dataBytes;
    const { pd, qp, memory } = host.createLaneParts(slots, this.controlAt + SLOT_BYTES, LANE_ACCESS);
    this.pd = pd;
    this.qp = qp;
    this.memory = memory;
    this.words = new Uint32Array(memory.buffer, 0, ringBytes / 4);
    this.data = new Uint8Array(memory.buffer, ringBytes, dataBytes);
    this.controlWords = new Uint32Array(memory.buffer, this.controlAt, SLOT_BYTES / 4);
    try {
      qp.toInit(host.address, LANE_ACCESS);
      this.receivesOwed = slots;
      this.repost();
      qp.toReadyToReceive(host.address, offer.endpoint);
      qp.toReadyToSend();
    } catch (error) {
      pd.close();
      throw error;
    }
    session.onMoved = this.acknowledgementMoved;
  }

  /** What the producer must know. */
  answer(inbox: string): Answer {
    return {
      type: 'answer',
      inbox,
      lane: this.id,
      epoch: this.epoch,
      slots: this.slots,
      dataBytes: this.dataBytes,
      memory: { address: this.memory.address, rkey: this.memory.rkey },
      delivered: this.session.delivered,
      acknowledged: this.session.acknowledged,
      endpoint: this.qp.endpoint(this.host.address),
    };
  }

  /** The producer's queue pair is connected. */
  onReady(): void {
    this.peerReady = true;
    this.flush(true);
  }

  /** Delivered on this lane and still readable. */
  get held(): number {
    return this.taken - this.released;
  }

  /** Bytes of the data ring that cannot be written now. */
  get heldBytes(): number {
    return this.held === 0 ? 0 : this.tail - this.starts[(this.released + 1) % this.slots]!;
  }

  /**
   * Reads the next message, which a completion has announced, into sequence, offset and length. A descriptor that is
   * not exactly the one that must come condemns the lane, and false is answered.
   */
  take(): boolean {
    const { session, descriptor } = this;
    const sequence = this.taken + 1;
    if (!decodeDescriptor(this.words, 0, sequence % this.slots, this.epoch, descriptor)) {
      return this.condemn(`the descriptor of message ${sequence} fails its checksum or has another epoch`);
    }
    if (descriptor.sequence !== sequence) {
      return this.condemn(`message ${descriptor.sequence} came where ${sequence} must come`);
    }
    if (descriptor.kind !== MessageKind.DATA) return this.condemn(`message kind ${descriptor.kind} is not known`);
    if (descriptor.length > this.dataBytes) {
      return this.condemn(`message ${sequence} claims ${descriptor.length} bytes in a ring of ${this.dataBytes}`);
    }
    if (this.held >= this.slots || session.full) return this.condemn(`message ${sequence} was sent without credit`);
    const start = placeMessage(this.tail, descriptor.length, this.dataBytes);
    const end = start + alignedLength(descriptor.length);
    const oldest = this.held === 0 ? start : this.starts[(this.released + 1) % this.slots]!;
    if (descriptor.offset !== offsetIn(start, this.dataBytes) || end - oldest > this.dataBytes) {
      return this.condemn(`message ${sequence} lies at ${descriptor.offset}, where it must not lie`);
    }
    this.starts[sequence % this.slots] = start;
    this.tail = end;
    this.taken = sequence;
    session.delivered = sequence;
    this.sequence = sequence;
    this.offset = descriptor.offset;
    this.length = descriptor.length;
    this.counters.messages++;
    this.counters.bytes += descriptor.length;
    return true;
  }

  /** The producer does not keep to the protocol. */
  condemn(why: string): false {
    this.broken = true;
    this.condemned ??= new RdmaError('RDMA_ERR_PROTOCOL', `lane ${this.id} of ${this.session.name}: ${why}`);
    return false;
  }

  /** The space of a message may be written again. Order does not matter; a second time does nothing. */
  release(sequence: number): void {
    if (sequence <= this.released || sequence > this.taken || sequence < this.firstSequence) return;
    this.releasedFlags[sequence % this.slots] = 1;
    while (this.released < this.taken && this.releasedFlags[(this.released + 1) % this.slots] === 1) {
      this.released++;
      this.releasedFlags[this.released % this.slots] = 0;
    }
    if (!this.fenced) this.host.markDirty(this);
    else if (this.held === 0) this.closeMemory();
  }

  /** The producer may forget a message. */
  acknowledge(sequence: number): void {
    // A message of a lane that was fenced is reported by the lane that the producer has now.
    if (this.session.acknowledge(sequence)) this.session.onMoved?.();
  }

  private readonly acknowledgementMoved = (): void => this.host.markDirty(this);

  /** A receive was used; it is posted again with the next repost(). */
  receiveUsed(): void {
    this.receivesOwed++;
  }

  /**
   * Posts receives again when a quarter of them was used. Those that are left are enough until the next report: the
   * producer has no more messages under way than slots that it knows to be free, and before it is told of free ones
   * every receive is posted again.
   */
  repostSome(): void {
    if (this.receivesOwed * 4 >= this.slots) this.repost();
  }

  private repost(): void {
    this.qp.postEmptyReceives(this.receivesOwed);
    this.receivesOwed = 0;
  }

  /**
   * Tells the producer what was released and acknowledged, if there is news and the last report has arrived.
   *
   * @param all also small news; else only when a quarter of the lane waits to be reported
   */
  flush(all: boolean): void {
    if (this.fenced || !this.peerReady || this.controlInFlight || this.qp.closed) return;
    const { released } = this;
    const { acknowledged } = this.session;
    const news = released - this.reportedReleased;
    if (news === 0 && acknowledged === this.reportedAcknowledged) return;
    if (!all && news < this.slots / 4 && this.tail - this.reportedTail < this.dataBytes / 4) return;
    this.repost();
    encodeControl(this.controlWords, 0, this.epoch, LaneState.OPEN, released, acknowledged);
    this.qp.sends.writeWithImm(
      0,
      CONTROL_WR_ID,
      SendFlags.SIGNALED,
      this.id,
      this.remote.address,
      this.remote.rkey,
      this.memory.address + this.controlAt,
      SLOT_BYTES,
      this.memory.lkey,
    );
    this.controlInFlight = true;
    this.reportedReleased = released;
    this.reportedAcknowledged = acknowledged;
    this.reportedTail = this.held === 0 ? this.tail : this.starts[(released + 1) % this.slots]!;
    this.counters.controls++;
    this.qp.postSend(1);
  }

  /** True while the producer has not been told everything, and can be. */
  get reporting(): boolean {
    if (this.fenced || this.condemned !== undefined || !this.peerReady || this.qp.closed) return false;
    const told = this.released === this.reportedReleased && this.session.acknowledged === this.reportedAcknowledged;
    return this.controlInFlight || !told;
  }

  /** The report has arrived. */
  controlSent(): void {
    this.controlInFlight = false;
  }

  /** The queue pair to ERR: what the producer has under way ends, what has arrived can still be polled. */
  stop(): void {
    try {
      if (!this.qp.closed) this.qp.toError();
    } catch {
      // A queue pair that cannot be stopped is destroyed all the same.
    }
  }

  /**
   * Ends the producer's access for good. What was delivered stays readable until it is released.
   *
   * @returns false when that could not be proved, as a late writer may still be inside: the memory is quarantined
   */
  fence(): boolean {
    this.fenced = true;
    if (this.session.onMoved === this.acknowledgementMoved) this.session.onMoved = undefined;
    let revoked = true;
    try {
      this.qp.close();
    } catch {
      revoked = false;
    }
    try {
      this.memory.deregister();
    } catch {
      revoked = false;
    }
    if (this.held === 0) this.closeMemory();
    return revoked;
  }

  /** Takes the memory away from views that are still held. */
  closeMemory(): void {
    if (this.memoryClosed) return;
    this.memoryClosed = true;
    try {
      this.pd.close();
    } catch {
      // The device does not let go of it: it was counted as quarantined, and ends with the device.
    }
  }
}
