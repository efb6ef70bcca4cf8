// The way from one place to another: an outbox, and what the target has not acknowledged.
//
// Invariant: messages go out in the order of send(), and each custody counts the target until the target has
// acknowledged. Acknowledgements count up to the first that is missing, so a message that takes long is sent again as a
// newer one, and the receiver acknowledges the older copy in exchange. For that there is always room: more than twice
// `residentRequests` messages are never unacknowledged, apart from such copies; what comes beyond waits here.
import type { Clock, Outbox } from '../ring/index.js';
import type { Custody } from './custody.js';

/** How long to wait for room in the lane, which the receiver makes without a word. */
const RETRY_MS = 1;

// A message that the target has not acknowledged.
interface Sent {
  readonly sequence: number;
  readonly custody: Custody;
  /** It was sent again already: it takes long, unlike what only waits behind it. */
  readonly isCopy: boolean;
}

export class Link {
  private readonly clock: Clock;
  private readonly refreshAfter: number;
  private readonly most: number;
  private outbox!: Outbox;
  private readonly waiting: Sent[] = []; // by sequence; a note has no custody and is not here
  private readonly queue: { bytes: Uint8Array; custody: Custody | undefined }[] = [];
  private inOutbox = 0; // messages that wait for room in the outbox
  private refreshed = 0; // sequence of the last message that was sent again
  private stopRetry: (() => void) | undefined;
  private closed = false;

  /** @param residentRequests requests that have not ended, at most: so many messages may take long */
  constructor(clock: Clock, residentRequests: number) {
    this.clock = clock;
    this.refreshAfter = residentRequests;
    this.most = 2 * residentRequests;
  }

  /** The outbox is connected; it calls {@link Link.onAcknowledged}. */
  open(outbox: Outbox): void {
    this.outbox = outbox;
  }

  /** Messages that wait for room. */
  get backlog(): number {
    return this.queue.length + this.inOutbox;
  }

  /** Outputs that the target has not acknowledged. */
  get unacknowledged(): number {
    return this.waiting.length + this.backlog;
  }

  status() {
    return this.outbox.status();
  }

  /**
   * Sends a message.
   *
   * @param bytes copied before this returns
   * @param custody counts the target until it has acknowledged; undefined for a note
   * @throws the error of an outbox that has failed
   */
  send(bytes: Uint8Array, custody: Custody | undefined): void {
    custody?.sent();
    if (this.queue.length === 0 && !this.isFull) this.pass(bytes, custody);
    else {
      this.queue.push({ bytes: bytes.slice(), custody });
      this.refresh();
    }
  }

  private get isFull(): boolean {
    const { outbox } = this;
    return outbox.sequence - outbox.acknowledged + this.inOutbox >= this.most;
  }

  private pass(bytes: Uint8Array, custody: Custody | undefined): void {
    if (this.inOutbox === 0) {
      const sequence = this.outbox.trySend(bytes);
      if (sequence > 0) {
        this.sent(sequence, custody);
        return;
      }
    }
    this.inOutbox++;
    this.outbox.send(bytes.slice()).then(
      (sequence) => {
        this.inOutbox--;
        this.sent(sequence, custody);
      },
      () => {
        this.inOutbox--;
        // When it has failed instead, this place answers for it still, and fails with it.
        if (this.closed) custody?.acknowledged();
      },
    );
  }

  private sent(sequence: number, custody: Custody | undefined): void {
    if (custody !== undefined) this.await(sequence, custody, false);
    this.refresh();
  }

  private await(sequence: number, custody: Custody, isCopy: boolean): void {
    const { waiting } = this;
    if (this.outbox.acknowledged >= sequence) {
      custody.acknowledged();
      return;
    }
    let at = waiting.length;
    while (at > 0 && waiting[at - 1]!.sequence > sequence) at--;
    if (at === waiting.length) waiting.push({ sequence, custody, isCopy });
    else waiting.splice(at, 0, { sequence, custody, isCopy });
  }

  // Sends again what has been overtaken by `refreshAfter` messages.
  private refresh(): void {
    const { outbox, waiting, refreshAfter } = this;
    const last = outbox.sequence;
    while (this.inOutbox === 0) {
      const oldest = waiting[0];
      if (oldest === undefined || oldest.sequence > last || outbox.sequence - oldest.sequence < refreshAfter) return;
      // What lay behind the last one that was sent again may be acknowledged with it: that is not known yet.
      if (!oldest.isCopy && outbox.acknowledged < this.refreshed) return;
      const again = outbox.tryResend(oldest.sequence);
      if (again === 0) {
        this.retry();
        return;
      }
      this.refreshed = oldest.sequence;
      waiting.shift();
      this.await(again, oldest.custody, true);
    }
  }

  // Without something in the queue the next message tries again.
  private retry(): void {
    if (this.queue.length === 0 || this.closed) return;
    this.stopRetry ??= this.clock.after(RETRY_MS, () => {
      this.stopRetry = undefined;
      if (!this.closed) this.refresh();
    });
  }

  /** The target has acknowledged everything up to this message. */
  onAcknowledged(sequence: number): void {
    const { waiting, queue } = this;
    let count = 0;
    while (count < waiting.length && waiting[count]!.sequence <= sequence) count++;
    if (count > 0) for (const { custody } of waiting.splice(0, count)) custody.acknowledged();
    if (queue.length === 0 || this.closed) return;
    while (queue.length > 0 && !this.isFull) {
      const { bytes, custody } = queue.shift()!;
      this.pass(bytes, custody);
    }
    if (queue.length > 0) this.refresh();
  }

  /** Closes the outbox. What was not acknowledged is settled: nobody will ask for it. */
  async close(): Promise<void> {
    this.closed = true;
    this.stopRetry?.();
    await this.outbox.close();
    for (const { custody } of this.waiting.splice(0)) custody.acknowledged();
    for (const { custody } of this.queue.splice(0)) custody?.acknowledged();
  }
}
