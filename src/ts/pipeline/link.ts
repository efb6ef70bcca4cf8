// The way from one place to another: one lane, and what waits to go through it.
//
// Invariant: messages with custody go out in order, and at most custodyLimit() of them are not acknowledged at a time; the
// rest waits here, and notes overtake it. Acknowledgements count up to the first message that is missing. So what takes
// long is sent once more behind what came after it, and the receiver acknowledges the older copy in exchange; room for
// that is always left. So there is room again as long as the receiver takes what it gets, and the note that ends a
// request does not wait for the request that it ends.
import type { Clock, Outbox } from '../ring/index.js';
import type { Custody } from './custody.js';

/** When all that waits was sent once more and nothing has changed, so long until it is tried again. */
const STALL_MS = 20;

/**
 * Messages with custody that may be unacknowledged in a link: of each request that may be resident one, and some that are
 * out of date until a newer one arrives.
 */
export function custodyLimit(residentRequests: number): number {
  return residentRequests + Math.max(1, residentRequests >> 2);
}

/** Messages of any kind that the outbox of a link must be able to retain: more than those, and so many that it seldom stalls. */
export function retainedMessages(residentRequests: number): number {
  return 2 * residentRequests + 2;
}

export interface LinkParts {
  outbox: Outbox;
  clock: Clock;
  residentRequests: number;
  /** See PlaceOptions. */
  flaw: string | undefined;
}

export class Link {
  readonly outbox: Outbox;
  private readonly clock: Clock;
  private readonly limit: number;
  private readonly retained: number;
  private readonly refreshAfter: number;
  private readonly waiting: { sequence: number; custody: Custody }[] = []; // sent and not acknowledged, in order
  private held: { readonly bytes: Uint8Array; readonly custody: Custody }[] = [];
  private notes: Uint8Array[] = [];
  private resent = 0; // in a row, while nothing else could be sent
  private stopTimer: (() => void) | undefined;
  private closing: Promise<void> | undefined;

  constructor({ outbox, clock, residentRequests, flaw }: LinkParts) {
    this.outbox = outbox;
    this.clock = clock;
    this.limit = custodyLimit(residentRequests);
    this.retained = retainedMessages(residentRequests);
    this.refreshAfter = flaw === 'no-refresh' ? Number.POSITIVE_INFINITY : residentRequests;
  }

  /** Messages that wait to be sent. */
  get backlog(): number {
    return this.held.length + this.notes.length;
  }

  /** Messages with custody that the target has not acknowledged. */
  get unacknowledged(): number {
    return this.waiting.length + this.held.length;
  }

  /**
   * Sends a message.
   *
   * @param bytes copied before this returns
   * @param custody counts this receiver until it has acknowledged; undefined for a note
   * @throws the error of an outbox that has failed
   */
  send(bytes: Uint8Array, custody: Custody | undefined): void {
    custody?.sent();
    if ((custody === undefined ? this.notes.length : this.backlog) === 0 && this.sendNow(bytes, custody)) return;
    if (custody === undefined) this.notes.push(bytes.slice());
    else this.held.push({ bytes: bytes.slice(), custody });
    this.makeRoom();
  }

  // False when there is no room: flow() is called when there may be.
  private sendNow(bytes: Uint8Array, custody: Custody | undefined): boolean {
    const { outbox, waiting } = this;
    const oldest = waiting[0];
    if (oldest !== undefined && outbox.sequence - oldest.sequence >= this.refreshAfter) this.resendOldest();
    if (custody !== undefined && waiting.length >= this.limit) return false;
    // The last place is for what has to be sent once more.
    if (outbox.unacknowledged + 1 >= this.retained) return false;
    const sequence = outbox.trySend(bytes);
    if (sequence === 0) return false;
    this.resent = 0;
    if (custody !== undefined) this.await(sequence, custody);
    return true;
  }

  // Something waits. What is acknowledged behind the oldest message is seen when that is sent once more.
  private makeRoom(): void {
    if (this.waiting.length === 0 || this.stopTimer !== undefined || this.refreshAfter === Number.POSITIVE_INFINITY)
      return;
    if (this.resent < this.waiting.length) {
      if (this.resendOldest()) this.resent++;
      return;
    }
    this.stopTimer = this.clock.after(STALL_MS, () => {
      this.stopTimer = undefined;
      this.resent = 0;
      this.flow();
    });
  }

  private resendOldest(): boolean {
    const { waiting } = this;
    const { sequence, custody } = waiting[0]!;
    const again = this.outbox.tryResend(sequence);
    if (again === 0) return false;
    waiting.shift();
    this.await(again, custody);
    return true;
  }

  private await(sequence: number, custody: Custody): void {
    if (this.outbox.acknowledged >= sequence) custody.acknowledged();
    else this.waiting.push({ sequence, custody });
  }

  /** Everything up to this sequence was acknowledged. */
  acknowledged(sequence: number): void {
    const { waiting } = this;
    let count = 0;
    while (count < waiting.length && waiting[count]!.sequence <= sequence) count++;
    if (count > 0) for (const { custody } of waiting.splice(0, count)) custody.acknowledged();
    this.flow();
  }

  /** Sends what waits, as far as there is room. */
  flow(): void {
    if (this.backlog === 0 || this.closing !== undefined) return;
    try {
      while (this.notes.length > 0 && this.sendNow(this.notes[0]!, undefined)) this.notes.shift();
      while (this.notes.length === 0 && this.held.length > 0) {
        const { bytes, custody } = this.held[0]!;
        if (!this.sendNow(bytes, custody)) break;
        this.held.shift();
      }
      if (this.backlog > 0) this.makeRoom();
    } catch {
      // The outbox has failed, and says so to its owner.
    }
  }

  /** Closes the outbox. What was not acknowledged is settled: nobody will ask for it. */
  close(): Promise<void> {
    this.closing ??= this.closeOutbox();
    return this.closing;
  }

  private async closeOutbox(): Promise<void> {
    this.stopTimer?.();
    await this.outbox.close();
    this.notes = [];
    const { held } = this;
    this.held = [];
    for (const { custody } of [...this.waiting.splice(0), ...held]) custody.acknowledged();
  }
}
