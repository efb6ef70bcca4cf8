// The link from one place to another: one lane, and the messages that wait for it.
//
// Invariant: messages with custody go out in order, and only a limited number may be unacknowledged at a time; the rest
// wait here. Notes overtake them: the note that ends a request does not wait for that request. Acknowledgements count
// up to the first missing message. So the message of a slow request is sent once more, behind later ones, and the
// receiver acknowledges the older copy in exchange; there is always room for that. So while the receiver takes messages
// there will be room again, however long some requests take.
//
// When another device reaches the receiver, all unacknowledged messages are built again, and wait here in order until
// there is an outbox on that device.
import type { Outbox } from '../ring/index.js';
import type { Custody } from './custody.js';
import { Kind, kindOf } from './envelope.js';
import type { Relocated } from './relocate.js';
import { viewOf } from './view.js';

/** A message that waits to be sent. */
interface Held {
  readonly bytes: Uint8Array;
  readonly custody: Custody;
}

/** A message that was sent and is not acknowledged. */
interface Sent {
  readonly sequence: number;
  readonly custody: Custody;
  /** How many messages had been sent for the first time when it was sent the last time. */
  readonly after: number;
}

/**
 * How many messages of any kind the outbox of a link must be able to retain.
 *
 * @param longMessages how many messages the requests at a place may have that have not ended: one each, and its pieces
 */
export function retainedMessages(longMessages: number): number {
  return 3 * longMessages + 2;
}

export class Link {
  /** The one that is in use, or was before the receiver went elsewhere. */
  outbox: Outbox;
  /** When the last message was sent here, by the clock of the port in microseconds. */
  usedAtUs = Number.NEGATIVE_INFINITY;
  private readonly longMessages: number;
  private readonly flaw: string | undefined;
  private readonly waiting: Sent[] = []; // in order
  private held: Held[] = [];
  private notes: Uint8Array[] = [];
  private refreshed = 0; // sequence of the last message that was sent once more
  private fresh = 0; // messages that were sent for the first time
  private away = false; // the outbox has ended, and another one is coming
  private closing: Promise<void> | undefined;

  /**
   * @param outbox retains retainedMessages()
   * @param longMessages messages of requests that have not ended, at most: so many may take long
   * @param flaw see PlaceOptions
   */
  constructor(outbox: Outbox, longMessages: number, flaw?: string | undefined) {
    this.outbox = outbox;
    this.flaw = flaw;
    this.longMessages = longMessages;
  }

  // Twice as many: half of them may have been acknowledged by the receiver already, behind one that takes long.
  private get isFull(): boolean {
    return this.waiting.length >= 2 * this.longMessages;
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
    try {
      this.refresh();
      const mayGo = custody === undefined ? this.notes.length === 0 : this.backlog === 0 && !this.isFull;
      if (mayGo && this.sendNow(bytes, custody)) return;
    } catch (error) {
      // This receiver will never acknowledge what it did not get.
      custody?.acknowledged();
      throw error;
    }
    if (custody === undefined) this.notes.push(bytes.slice());
    else this.held.push({ bytes: bytes.slice(), custody });
  }

  // False when there is no room; flow() is called when there may be.
  private sendNow(bytes: Uint8Array, custody: Custody | undefined): boolean {
    const { outbox } = this;
    if (this.away) return false;
    // The last place is for what has to be sent once more.
    if (outbox.unacknowledged + 1 >= retainedMessages(this.longMessages)) return false;
    const sequence = outbox.trySend(bytes);
    if (sequence === 0) return false;
    this.fresh++;
    if (custody !== undefined) this.await(sequence, custody);
    return true;
  }

  // Sends the oldest message once more when many have overtaken it; such that were sent once more do not count: with
  // them it would never end.
  private refresh(): void {
    const { outbox, waiting } = this;
    const oldest = waiting[0];
    if (oldest === undefined || this.fresh - oldest.after < this.longMessages) return;
    if (this.flaw === 'no-refresh' || this.away) return;
    // One at a time: what lies behind it may be acknowledged with it, and a receiver that is stopped takes no other
    // copy.
    if (outbox.acknowledged < this.refreshed) return;
    const again = outbox.tryResend(oldest.sequence);
    if (again === 0) return;
    this.refreshed = oldest.sequence;
    waiting.shift();
    this.await(again, oldest.custody);
  }

  private await(sequence: number, custody: Custody): void {
    if (this.outbox.acknowledged >= sequence) custody.acknowledged();
    else this.waiting.push({ sequence, custody, after: this.fresh });
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
    if (this.closing !== undefined) return;
    try {
      while (this.notes.length > 0 && this.sendNow(this.notes[0]!, undefined)) this.notes.shift();
      this.refresh();
      while (this.notes.length === 0 && this.held.length > 0 && !this.isFull) {
        const { bytes, custody } = this.held[0]!;
        if (!this.sendNow(bytes, custody)) return;
        this.held.shift();
      }
    } catch {
      // The outbox has failed, and says so to its owner.
    }
  }

  // ---- To another device

  /** Its outbox has ended, and another one is coming. */
  get isAway(): boolean {
    return this.away;
  }

  get isClosing(): boolean {
    return this.closing !== undefined;
  }

  /**
   * The outbox has failed, as the receiver is reached by another device: nothing goes out until arrived(). May be
   * called again before that.
   *
   * @param rebuild builds a message again for that device
   * @throws what `rebuild` throws
   */
  leave(rebuild: (bytes: Uint8Array) => Relocated): void {
    const sent = this.away ? [] : this.takeSent();
    this.away = true;
    this.held = [...sent, ...this.held].map(({ bytes, custody }) => {
      const { bytes: rebuilt, block } = rebuild(bytes);
      if (block !== undefined) custody.keep([block]);
      return { bytes: rebuilt, custody };
    });
  }

  // Back to those that wait: what has custody in the order in which it went out last, and notes.
  private takeSent(): Held[] {
    const custodies = new Map(this.waiting.splice(0).map(({ sequence, custody }) => [sequence, custody]));
    const held: Held[] = [];
    const notes: Uint8Array[] = [];
    for (const { sequence, bytes } of this.outbox.unacknowledgedMessages()) {
      const custody = custodies.get(sequence);
      if (custody !== undefined) held.push({ bytes: bytes.slice(), custody });
      // An older copy of what was sent once more goes with that one.
      else if (kindOf(bytes, viewOf(bytes)) !== Kind.INPUT) notes.push(bytes.slice());
    }
    this.notes = [...notes, ...this.notes];
    return held;
  }

  /** There is an outbox on the other device. */
  arrived(outbox: Outbox): void {
    this.outbox = outbox;
    this.away = false;
    this.refreshed = 0;
    this.flow();
  }

  /** Closes the outbox. What was not acknowledged is settled: nobody will ask for it. */
  close(): Promise<void> {
    this.closing ??= this.closeOutbox();
    return this.closing;
  }

  private async closeOutbox(): Promise<void> {
    await this.outbox.close();
    this.notes = [];
    const { held } = this;
    this.held = [];
    for (const { custody } of [...this.waiting.splice(0), ...held]) custody.acknowledged();
  }
}
