// The progress of one producer, as an inbox remembers it across the producer's lanes.
//
// Invariant: delivered is the last sequence handed to the application, in order and without a gap; acknowledged never
// passes it. Both only grow. Acknowledgements may come in any order; the watermark moves up to the first missing one.
import { slotOf } from './positions.js';
import type { PullJob, PullLane, PullProgress } from './pulls.js';

/** One incarnation of a producer as the inbox knows it, and its lane `L`. */
export class ProducerProgress<L extends PullLane = PullLane> implements PullProgress {
  readonly producer: string;
  readonly name: string;
  /** Epoch of the newest lane; grows with every lane. */
  epoch = 0;
  delivered: number;
  acknowledged: number;
  /** The lane that the producer has now; it reports to it. */
  lane: L | undefined;
  /** Messages that are being pulled, oldest first. */
  pulls: PullJob[] = [];
  private readonly window: Uint8Array;
  private readonly times: Float64Array;

  /**
   * @param retainMessages how many messages may be delivered and not acknowledged
   * @param acknowledged where the producer starts: everything up to here was acknowledged elsewhere
   */
  constructor(producer: string, name: string, retainMessages: number, acknowledged: number) {
    this.producer = producer;
    this.name = name;
    this.delivered = acknowledged;
    this.acknowledged = acknowledged;
    this.window = new Uint8Array(retainMessages);
    this.times = new Float64Array(retainMessages);
  }

  get retainMessages(): number {
    return this.window.length;
  }

  /** True when one more message would overrun the window: a producer that sends it breaks the protocol. */
  get full(): boolean {
    return this.delivered - this.acknowledged >= this.window.length;
  }

  /** The next message is delivered, at `now` ms; there is room for it. */
  deliver(now: number): void {
    this.delivered++;
    this.times[slotOf(this.delivered, this.window.length)] = now;
  }

  /** Age of the oldest message that is not acknowledged, in ms; 0 when there is none. */
  oldestMs(now: number): number {
    if (this.delivered === this.acknowledged) return 0;
    return Math.max(0, now - this.times[slotOf(this.acknowledged + 1, this.window.length)]!);
  }

  /** Everything up to `sequence` was acknowledged by another inbox. */
  skipTo(sequence: number): void {
    if (sequence <= this.acknowledged) return;
    if (sequence - this.acknowledged >= this.window.length) this.window.fill(0);
    else
      for (let each = this.acknowledged + 1; each <= sequence; each++)
        this.window[slotOf(each, this.window.length)] = 0;
    this.acknowledged = sequence;
    this.delivered = Math.max(this.delivered, sequence);
    // What was acknowledged here out of order may be complete now.
    this.advance();
  }

  /**
   * Marks one message; answers true when the watermark moved. A second time for the same message does nothing, and so
   * does what is no sequence of a message that was delivered.
   */
  acknowledge(sequence: number): boolean {
    // So that what is no number fails it.
    if (!(sequence > this.acknowledged && sequence <= this.delivered && Number.isInteger(sequence))) return false;
    this.window[slotOf(sequence, this.window.length)] = 1;
    // Only the oldest one moves the watermark.
    if (sequence !== this.acknowledged + 1) return false;
    this.advance();
    return true;
  }

  private advance(): void {
    const { window } = this;
    let slot = slotOf(this.acknowledged + 1, window.length);
    while (this.acknowledged < this.delivered && window[slot] === 1) {
      this.acknowledged++;
      window[slot] = 0;
      slot = slot + 1 === window.length ? 0 : slot + 1;
    }
  }

  /** True when the message was acknowledged. */
  isAcknowledged(sequence: number): boolean {
    return sequence <= this.acknowledged || this.window[slotOf(sequence, this.window.length)] === 1;
  }

  /** True while the message is being pulled. */
  isPulling(sequence: number): boolean {
    return this.pulls.length > 0 && this.pulls.some((job) => job.source.sequence === sequence);
  }
}
