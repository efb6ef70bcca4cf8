// The reporter of a lane: it tells the producer what was released and acknowledged, and keeps receives posted for its
// messages.
//
// Invariant: at most one report is under way; before a producer learns of free slots, a receive is posted for each of
// them. The control block is overwritten only after the report that reads it has arrived.
import { SendFlags } from '../verbs/index.js';
import type { Offer } from './negotiation-messages.js';
import type { LaneSpace } from './lane-space.js';
import { DESCRIPTOR_BYTES, encodeControl, LaneState } from './layout.js';
import type { PortQueuePair } from './port.js';
import type { ProducerProgress } from './producer-progress.js';

/** The work request of a control block; receives are 0. A number that never is an object. */
export const CONTROL_WR_ID = 2 ** 29;
const { SIGNALED } = SendFlags;

/** What is written, from where, and where to. */
export interface ReporterParts {
  qp: PortQueuePair;
  lane: number;
  epoch: number;
  /** The inbox's copy of the control block, and where it lies. */
  control: { words: Uint32Array; address: number; lkey: number };
  /** That of the producer. */
  remote: Offer['control'];
  /** Of the lane's data ring. */
  dataBytes: number;
}

export class LaneReporter {
  /** Reports that were written. */
  reports = 0;
  /** A report is under way. */
  inFlight = false;
  private readonly qp: PortQueuePair;
  private readonly lane: number;
  private readonly epoch: number;
  private readonly words: Uint32Array;
  private readonly address: number;
  private readonly remoteAddress: number;
  // Keys as signed numbers, which are never objects.
  private readonly localKey: number;
  private readonly remoteKey: number;
  private readonly space: LaneSpace;
  private readonly progress: ProducerProgress;
  private readonly slots: number;
  private readonly dataBytes: number;
  private receivesOwed: number;
  private state: number = LaneState.OPEN;
  private reportedState: number = LaneState.OPEN;
  private reportedReleased: number;
  private reportedAcknowledged: number;
  private reportedTail = 0;

  constructor(parts: ReporterParts, space: LaneSpace, progress: ProducerProgress) {
    this.qp = parts.qp;
    this.lane = parts.lane;
    this.epoch = parts.epoch;
    this.words = parts.control.words;
    this.address = parts.control.address;
    this.localKey = parts.control.lkey | 0;
    this.remoteAddress = parts.remote.address;
    this.remoteKey = parts.remote.rkey | 0;
    this.space = space;
    this.progress = progress;
    this.slots = space.slots;
    this.dataBytes = parts.dataBytes;
    this.receivesOwed = space.slots;
    this.reportedReleased = space.released;
    this.reportedAcknowledged = progress.acknowledged;
  }

  /** A receive was used; it is posted again with the next repost(). */
  receiveUsed(): void {
    this.receivesOwed++;
  }

  /**
   * Posts receives again when a quarter of them was used. Those that are left are enough until the next report: the
   * producer has no more messages under way than slots that it knows to be free.
   */
  repostSome(): void {
    if (this.receivesOwed * 4 >= this.slots) this.repost();
  }

  /** Posts every receive that is not posted. */
  repost(): void {
    this.qp.postEmptyReceives(this.receivesOwed);
    this.receivesOwed = 0;
  }

  /** The next report asks the producer to send nothing more. */
  drain(): void {
    this.state = LaneState.DRAINING;
  }

  // Whether the producer was written everything that there is to say.
  private get told(): boolean {
    const { space, progress } = this;
    return (
      space.released === this.reportedReleased &&
      progress.acknowledged === this.reportedAcknowledged &&
      this.state === this.reportedState
    );
  }

  /** True while something has not been reported to the producer, or has not arrived there. */
  get reporting(): boolean {
    return this.inFlight || !this.told;
  }

  /**
   * Writes a report, if there is news and the last one has arrived.
   *
   * @param all also small news; else only when a quarter of the lane waits to be reported, or of what the producer
   *   retains
   */
  flush(all: boolean): void {
    if (this.inFlight || this.told) return;
    const { space, progress } = this;
    const { released } = space;
    const { acknowledged } = progress;
    const isSmall =
      released - this.reportedReleased < this.slots / 4 &&
      space.tail - this.reportedTail < this.dataBytes / 4 &&
      acknowledged - this.reportedAcknowledged < progress.retainMessages / 4;
    if (isSmall && !all) return;
    this.report(released, acknowledged);
  }

  /**
   * The same for a lane on which nothing more has come than was taken: while its producer knows that half of the slots
   * are free, three quarters of the bytes, and half of what it may retain, it has no use for a report.
   */
  flushIfLow(): void {
    const { space, progress } = this;
    const hasPlenty =
      space.taken - this.reportedReleased <= this.slots / 2 &&
      space.tail - this.reportedTail < this.dataBytes / 4 &&
      progress.delivered - this.reportedAcknowledged <= progress.retainMessages / 2;
    if (!hasPlenty) this.flush(false);
  }

  private report(released: number, acknowledged: number): void {
    this.repost();
    encodeControl(this.words, 0, this.epoch, this.state, released, acknowledged);
    const { sends } = this.qp;
    sends.writeWithImm(0, 0, SIGNALED, this.lane, 0, this.remoteKey, 0, DESCRIPTOR_BYTES, this.localKey);
    sends.setWrId(0, CONTROL_WR_ID);
    sends.setRemoteAddress(0, this.remoteAddress);
    sends.setAddress(0, this.address);
    this.inFlight = true;
    this.reportedState = this.state;
    this.reportedReleased = released;
    this.reportedAcknowledged = acknowledged;
    this.reportedTail = this.space.head;
    this.reports++;
    this.qp.postSend(1);
  }

  /** The report has arrived. */
  arrived(): void {
    this.inFlight = false;
  }
}
