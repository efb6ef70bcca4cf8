// A lane at the consumer: one producer's queue pair and its pair of rings in the inbox's memory.
//
// Invariant: no byte of the lane has two possible writers. The memory belongs to one lane for its whole life: a lane
// that was fenced is never written again (queue pair destroyed, key revoked, mapped pages detached), and a new lane
// gets new memory. Space is given back strictly in order; offsets and lengths from the producer are compared with the
// computed ones.
import { RdmaError } from '../core/errors.js';
import { invalidArgument } from '../core/validate.js';
import type { PortAddress } from '../verbs/index.js';
import type { Answer, Offer } from './negotiation-messages.js';
import { LaneMemory, type LaneShape, type MakeLaneParts } from './lane-memory.js';
import { LaneReader, type ReaderHost } from './lane-reader.js';
import { LaneReporter } from './lane-reporter.js';
import { LaneSpace } from './lane-space.js';
import { type Descriptor, DescriptorFlags, MessageKind } from './layout.js';
import { copyOut, InboxMessage, type Puller } from './message.js';
import type { PortMemory, PortQueuePair } from './port.js';
import type { PullJob } from './pulls.js';
import type { ProducerProgress } from './producer-progress.js';
import type { LaneStatus } from './status.js';

/** What a lane needs from its inbox. @internal */
export interface LaneHost extends Puller, ReaderHost {
  readonly address: PortAddress;
  /** The lane has something to tell its producer. */
  markDirty(lane: Lane): void;
  readonly makeLaneParts: MakeLaneParts;
}

const { SKIP, PULL } = MessageKind;
const { PAYLOAD_CRC } = DescriptorFlags;

/** A producer's pair of rings, as a loop that calls {@link Inbox.poll} sees it. */
export class Lane {
  /** Its number in the inbox; a later lane may have it again. */
  readonly id: number;
  /** @internal */
  readonly progress: ProducerProgress<Lane>;
  /** @internal */
  readonly epoch: number;
  /** Messages that it holds at most. */
  readonly slots: number;
  /** Bytes of the data ring. */
  readonly dataBytes: number;
  /** @internal Its messages are found by {@link Lane.arrived}. */
  readonly polled: boolean;
  /** @internal It is polled, and its producer stores into it, in order. */
  readonly isStored: boolean;
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
  /** @internal Announced and not taken; see lane-scheduler.ts. */
  waiting = 0;
  /** @internal */
  queued = false;
  /** @internal */
  deficit = 0;
  /** @internal READs under way, oldest first; see pulls.ts. */
  readonly reads: { job: PullJob; length: number }[] = [];

  private readonly shape: LaneShape;
  private readonly memory: LaneMemory;
  private readonly host: LaneHost;
  private readonly space: LaneSpace;
  private readonly reader: LaneReader;
  private readonly reporter: LaneReporter;
  private readonly descriptor: Descriptor; // of the message that was read
  private peerReady = false;

  /** @internal */
  constructor(id: number, progress: ProducerProgress<Lane>, host: LaneHost, offer: Offer, shape: LaneShape) {
    const { slots, dataBytes } = shape;
    this.id = id;
    this.progress = progress;
    this.host = host;
    this.shape = shape;
    this.epoch = ++progress.epoch;
    this.slots = slots;
    this.dataBytes = dataBytes;
    this.polled = shape.polled;
    this.isStored = shape.polled && shape.inPlace;
    const { epoch } = this;
    const memory = new LaneMemory(shape, host.makeLaneParts);
    const { qp, control } = memory;
    this.memory = memory;
    this.qp = qp;
    this.data = memory.data;
    this.space = new LaneSpace(slots, dataBytes, progress.delivered);
    this.reader = new LaneReader(shape, epoch, memory, this.space, progress, host);
    this.descriptor = this.reader.descriptor;
    const report = { qp, lane: id, epoch, control, remote: offer.control, dataBytes };
    this.reporter = new LaneReporter(report, this.space, progress);
    memory.connect(host.address, offer.endpoint, () => this.reporter.repost());
    progress.lane = this;
  }

  /** Bytes that the lane takes at the inbox: descriptors, data ring and the report. */
  get memoryBytes(): number {
    return this.memory.bytes;
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
      memory: this.memory.remote,
      inlineBytes: this.shape.inlineBytes,
      inPlace: this.shape.inPlace,
      polled: this.polled,
      maxPullBytes: this.host.maxPullBytes,
      delivered: this.progress.delivered,
      acknowledged: this.progress.acknowledged,
      endpoint: this.qp.endpoint(this.host.address),
    };
  }

  /** @internal The producer's queue pair is connected. */
  onReady(): void {
    this.peerReady = true;
    this.flush(true);
  }

  /** @internal Something has arrived: its producer is connected, whether or not it has said so yet. */
  markReady(): void {
    this.peerReady = true;
  }

  /** @internal */
  get isReady(): boolean {
    return this.peerReady && !this.qp.closed;
  }

  /** Delivered on this lane and still readable. */
  get held(): number {
    return this.space.held;
  }

  /** Bytes of the data ring that cannot be written now. */
  get heldBytes(): number {
    return this.space.heldBytes;
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

  /**
   * Copies it into memory of the caller's; see {@link InboxMessage.copyTo}. Makes no message object.
   *
   * @param target has room for `length` bytes from `offset` on
   * @param offset where to begin in `target`; default 0
   * @returns how many bytes were copied: `length`
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when there is no room; RDMA_ERR_BUSY when it has to be pulled
   */
  copyTo(target: Uint8Array, offset = 0): number {
    const { length, data, offset: at } = this;
    if (this.isPulled) return this.message().copyTo(target, offset);
    return copyOut(target, offset, data, at, length);
  }

  /** It as an object, which can be kept. */
  message(): InboxMessage {
    const { progress, descriptor, offset } = this;
    const { sequence, length, address, rkey, flags, payloadCrc } = descriptor;
    if (descriptor.kind !== PULL) {
      return new InboxMessage(this, this.data.subarray(offset, offset + length), undefined, this.host);
    }
    const crc = (flags & PAYLOAD_CRC) !== 0 ? payloadCrc : undefined;
    const source = { what: 'message', progress, sequence, address, rkey, length, crc } as const;
    return new InboxMessage(this, undefined, source, this.host);
  }

  /**
   * @internal True when the next message of a polled lane is there, and can be taken. A descriptor that stays half
   * written for long condemns the lane.
   */
  arrived(): boolean {
    const { reader } = this;
    if (reader.peeked) return true;
    if (this.broken || this.memory.isClosed) return false;
    if (reader.arrived()) {
      this.peerReady = true;
      return true;
    }
    return reader.problem === undefined ? false : this.condemn(reader.problem);
  }

  /**
   * @internal What is there to be taken, by one look; see {@link Next}. Only of a lane that is polled and not
   *   condemned.
   */
  look(): number {
    return this.reader.look();
  }

  /** @internal As take(), when look() has found a short message. */
  takeShort(): boolean {
    const { reader } = this;
    if (!reader.takeShort()) return this.condemn(reader.problem!);
    this.offset = reader.offset;
    this.peerReady = true;
    return true;
  }

  /** @internal So many messages have arrived in the data ring of a polled lane. False: there cannot be so many. */
  land(count: number): boolean {
    return this.reader.land(count);
  }

  /**
   * @internal Reads the next message, which a completion has announced, or arrived() has found. A descriptor that is
   * not exactly the one that must come condemns the lane, and false is answered.
   */
  take(): boolean {
    const { reader } = this;
    if (!reader.take()) return this.condemn(reader.problem!);
    this.offset = reader.offset;
    return true;
  }

  /** @internal The producer does not keep to the protocol. */
  condemn(why: string): false {
    this.broken = true;
    this.condemned ??= new RdmaError('RDMA_ERR_PROTOCOL', `lane ${this.id} of ${this.progress.name}: ${why}`);
    return false;
  }

  // ---- What the application gives back

  /**
   * The space of a message may be written again. Order does not matter; a second time does nothing.
   *
   * @param sequence of a message that was delivered: {@link Lane.sequence} while it is visited
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  release(sequence: number): void {
    if (!this.space.release(sequence)) {
      this.checkDelivered(sequence);
      return;
    }
    if (this.fenced) {
      if (this.held === 0) this.closeMemory();
    } else if (!this.dirty) {
      this.host.markDirty(this);
    }
  }

  // What changes nothing may be what was said before; or no message at all, and then nobody would ever give it back.
  private checkDelivered(sequence: number): void {
    const { delivered } = this.progress;
    if (Number.isInteger(sequence) && sequence >= 1 && sequence <= delivered) return;
    throw invalidArgument('sequence', sequence, `that of a message that was delivered, 1 to ${delivered}`);
  }

  /**
   * The producer may forget a message. Order does not matter; a second time does nothing.
   *
   * @param sequence of a message that was delivered: {@link Lane.sequence} while it is visited
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_BUSY while it is being pulled
   */
  acknowledge(sequence: number): void {
    const { progress } = this;
    if (progress.isPulling(sequence)) {
      throw new RdmaError('RDMA_ERR_BUSY', `message ${sequence} of ${progress.name} is being pulled`, {
        remedy: 'acknowledge it when pull() has ended',
      });
    }
    if (!progress.acknowledge(sequence)) {
      this.checkDelivered(sequence);
      return;
    }
    // A message of a lane that was fenced is reported by the lane that the producer has now.
    if (progress.lane !== undefined) this.host.markDirty(progress.lane);
  }

  // ---- Receives and reports

  /** @internal A receive was used. */
  receiveUsed(): void {
    this.reporter.receiveUsed();
  }

  /** @internal Posts receives again when enough of them were used. */
  repostSome(): void {
    this.reporter.repostSome();
  }

  /** @internal Asks the producer to send nothing more. */
  drain(): void {
    this.reporter.drain();
    this.flush(true);
  }

  /**
   * @internal Tells the producer what was released and acknowledged, if there is news and the last report has arrived.
   *
   * @param all also small news; else only when a quarter of the lane waits to be reported
   */
  flush(all: boolean): void {
    if (this.fenced || !this.peerReady || this.qp.closed) return;
    this.reporter.flush(all);
  }

  /**
   * @internal The same where nothing more has come than was taken: while its producer has credit in plenty, it can
   *   wait.
   */
  flushIfLow(): void {
    if (this.fenced || !this.peerReady || this.qp.closed) return;
    this.reporter.flushIfLow();
  }

  /** @internal True while something has not been reported to the producer, and can be. */
  get reporting(): boolean {
    if (this.fenced || this.condemned !== undefined || !this.peerReady || this.qp.closed) return false;
    return this.reporter.reporting;
  }

  /**
   * @internal True while the completion queue is about to have something for it: a report that has arrived, a READ,
   * bytes.
   */
  get waits(): boolean {
    return this.reporter.inFlight || this.reader.awaitsLanding || this.reads.length > 0;
  }

  /** @internal The report has arrived. */
  controlSent(): void {
    this.reporter.arrived();
  }

  /** @internal Registers memory into which this lane's queue pair may READ. */
  registerForPull(buffer: Uint8Array, access: number): PortMemory {
    return this.memory.register(buffer, access);
  }

  /** @internal */
  status(now: number): LaneStatus {
    const { progress } = this;
    return {
      lane: this.id,
      from: progress.name,
      producer: progress.producer,
      epoch: this.epoch,
      slots: this.slots,
      dataBytes: this.dataBytes,
      memoryBytes: this.memoryBytes,
      inlineBytes: this.shape.inlineBytes,
      inPlace: this.shape.inPlace,
      polled: this.polled,
      messages: this.reader.messages,
      bytes: this.reader.bytes,
      reports: this.reporter.reports,
      heldMessages: this.held,
      heldBytes: this.heldBytes,
      waitingMessages: this.waiting,
      unacknowledgedMessages: progress.delivered - progress.acknowledged,
      oldestUnacknowledgedMs: progress.oldestMs(now),
    };
  }

  // ---- End

  /** @internal The queue pair to ERR: what the producer has under way ends, what has arrived can still be polled. */
  stop(): void {
    this.memory.stop();
  }

  /**
   * @internal Ends the producer's access for good. What was delivered stays readable until it is released.
   *
   * @returns false when that could not be proved, as a late writer may still be inside: the memory is quarantined
   */
  fence(): boolean {
    this.fenced = true;
    if (this.progress.lane === this) this.progress.lane = undefined;
    return this.memory.revoke(this.held > 0);
  }

  /**
   * @internal Takes the memory away from views that are still held. Answers false when the device does not let go of
   * it.
   */
  closeMemory(): boolean {
    return this.memory.close();
  }
}
