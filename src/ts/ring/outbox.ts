// An outbox: the producer's end of a lane, through reconnects. The application sees this file; producer.ts puts
// together the parts that do the work.
//
// Invariant: a message that send() took is kept until the inbox acknowledges it, and is written again after a reconnect
// unless the inbox says that it was delivered. So each message is delivered once per incarnation of the inbox, or the
// outbox fails and says which messages were not acknowledged.
import { RdmaError } from '../core/errors.js';
import type { MessageStager } from './message-stager.js';
import type { OutboxLink } from './outbox-link.js';
import type { OutboxOptions, OutboxRest, Part, SendOptions } from './outbox-options.js';
import type { RingPort } from './port.js';
import { Producer } from './producer.js';
import type { Reservation } from './reservation.js';
import type { RetainedMessages } from './retained-messages.js';
import type { SendPath } from './send-path.js';
import type { OutboxCounters, OutboxStatus } from './status.js';
import { systemPort } from './system-port.js';

const NOTHING = new Uint8Array(0);

/** Made by {@link Outbox.connect}. */
export class Outbox implements AsyncDisposable {
  /** Identity of this incarnation of the producer, 32 hexadecimal digits. */
  readonly identity: string;
  /** Sums since the outbox was opened. */
  readonly counters: OutboxCounters;
  private readonly producer: Producer;
  private readonly retained: RetainedMessages;
  private readonly link: OutboxLink;
  private readonly sendPath: SendPath;
  private readonly stager: MessageStager;
  private readonly isBusy: boolean; // its user polls
  private sending = false;
  private readonly parts: Part[] = []; // of the message that is being taken

  private constructor(producer: Producer) {
    this.identity = producer.identity;
    this.counters = producer.counters;
    this.producer = producer;
    this.retained = producer.device.retained;
    this.link = producer.link;
    this.sendPath = producer.sendPath;
    this.stager = producer.sendPath.stager;
    this.isBusy = producer.settings.wait === 'busy';
  }

  /**
   * Opens an outbox and connects it.
   *
   * @throws RdmaError RDMA_ERR_UNAUTHENTICATED for a wrong secret; RDMA_ERR_REFUSED with the inbox's reason;
   *   ECONNREFUSED and RDMA_ERR_TIMEOUT when nobody answers for `reconnectMs`; RDMA_ERR_NO_DEVICE; ENOMEM;
   *   RDMA_ERR_INVALID_ARGUMENT
   */
  static async connect(options: OutboxOptions): Promise<Outbox> {
    return Outbox.connectOn(systemPort, options);
  }

  /** @internal The same on another port. */
  static async connectOn(port: RingPort, options: OutboxOptions): Promise<Outbox> {
    const outbox = new Outbox(new Producer(options, port));
    try {
      await outbox.link.connect();
    } catch (error) {
      await outbox.close();
      throw error;
    }
    return outbox;
  }

  /** The largest message in bytes that the lane and the retained memory take. Known exactly once connected. */
  get maxLaneMessageBytes(): number {
    return this.stager.maxLaneMessageBytes;
  }

  /** The largest message in bytes, pulled ones included. */
  get maxMessageBytes(): number {
    return this.stager.maxMessageBytes;
  }

  /** Everything up to this sequence was acknowledged. */
  get acknowledged(): number {
    return this.retained.acknowledged;
  }

  /** Everything up to this sequence was written to the lane at some time. */
  get published(): number {
    return this.link.reached;
  }

  /** Last sequence that was taken. */
  get sequence(): number {
    return this.retained.last;
  }

  /** Messages that are held and not acknowledged. */
  get unacknowledged(): number {
    return this.retained.count;
  }

  /** True while there is a connection to an inbox. */
  get connected(): boolean {
    return this.link.connection !== undefined;
  }

  /** True when reservations lie in the inbox's own memory. */
  get buildsInPlace(): boolean {
    return this.link.connection?.isMapped ?? false;
  }

  /** Name of the device that carries the bytes. */
  get deviceName(): string {
    return this.producer.device.name;
  }

  /** What an operator asks: depth, bytes, ages, why it waits. Computed at each call; not for hot loops. */
  status(): OutboxStatus {
    return this.producer.status();
  }

  // ---- Sending

  /**
   * Takes a message if there is room for it, and writes it to the lane as soon as there is credit. The bytes are
   * copied; the caller's memory is free when this returns. What is too long for the lane is copied to memory from
   * which the inbox pulls it.
   *
   * @param parts the pieces of one message, put together in this order
   * @returns its sequence; 0 when there is no room now
   * @throws RdmaError RDMA_ERR_MESSAGE_TOO_LARGE; RDMA_ERR_CLOSED; RDMA_ERR_INVALID_ARGUMENT; ENOMEM for what is to be
   *   pulled; the error with which the outbox has failed
   */
  trySend(...parts: Part[]): number;
  // The first ones one by one: whatever the compiler does with this call, no array is made of them.
  trySend(first?: Part, second?: Part, third?: Part, ...more: Part[]): number {
    // biome-ignore lint/complexity/noArguments: what was given as undefined is a wrong part, not none
    const count = arguments.length;
    if (count === 1) {
      const sequence = this.sendPath.trySendShort(first);
      if (sequence > 0) return sequence;
    }
    // A callback may come back here.
    if (this.sending) return this.stager.trySend([first!, second!, third!, ...more], count);
    const list = this.parts;
    list[0] = first!;
    list[1] = second!;
    list[2] = third!;
    for (let i = 0; i < more.length; i++) list[3 + i] = more[i]!;
    this.sending = true;
    try {
      return this.stager.trySend(list, count);
    } finally {
      this.sending = false;
      for (let i = 0; i < count; i++) list[i] = NOTHING;
    }
  }

  /**
   * @internal Takes a message that is not acknowledged once more, as a new one behind all others: acknowledgements
   * count up to the first message that is missing, and a receiver that needs long for it acknowledges the older copy
   * in exchange.
   *
   * @returns its new sequence; 0 when there is no room now, or its bytes are not retained here
   * @throws as trySend
   */
  tryResend(sequence: number): number {
    const bytes = this.retained.bytesOf(sequence);
    return bytes === undefined ? 0 : this.trySend(bytes);
  }

  /**
   * @internal The messages that are not acknowledged and whose bytes are retained here, in order; views, good until the
   * outbox is closed. For whoever takes them elsewhere after it has failed.
   */
  *unacknowledgedMessages(): Generator<{ readonly sequence: number; readonly bytes: Uint8Array }> {
    const { retained } = this;
    for (let sequence = retained.acknowledged + 1; sequence <= retained.last; sequence++) {
      const bytes = retained.bytesOf(sequence);
      if (bytes !== undefined) yield { sequence, bytes };
    }
  }

  /**
   * From now on messages are collected, and written together: for many small ones that are at hand, one doorbell and
   * one completion instead of one for each. They wait until {@link Outbox.uncork}, until there is no room for another
   * one, or until so many bytes have been collected that waiting gains nothing. Their age in {@link Outbox.status}
   * counts from when collecting began. May be called again before that; each call needs its uncork().
   */
  cork(): void {
    this.sendPath.cork();
  }

  /** Writes what has been collected, if this ends the outermost cork(). Without a cork() it does nothing. */
  uncork(): void {
    this.sendPath.uncork();
  }

  /**
   * As trySend, and waits for room. Messages leave in the order of the calls.
   *
   * @param parts one message: its bytes, or the pieces that are put together to it
   * @returns the sequence of the message
   * @throws as trySend; RDMA_ERR_TIMEOUT and RDMA_ERR_ABORTED while it waits: the message was not taken then
   */
  async send(parts: Part | readonly Part[], options: SendOptions = {}): Promise<number> {
    const list = Array.isArray(parts) ? (parts as readonly Part[]) : [parts as Part];
    return this.producer.whenRoom(() => this.trySend(...list), options);
  }

  /**
   * Space for one message, to be filled and committed; the outbox then copies nothing. On a soft device it is
   * the inbox's own memory, if there is credit and nothing before it waits; else, and on every other device, it is
   * memory that is written to the lane when the message is committed. What the lane cannot take gets memory from which
   * the inbox pulls.
   *
   * A message that was built in the lane is read there by whoever resends it after the inbox has died: an application
   * that changes a received message before it acknowledges it changes what is sent again. {@link Outbox.send} keeps a
   * copy.
   *
   * @param bytes the most that the message may take, 0 or more
   * @param reuse a reservation of this outbox that has ended: it becomes the new one, and none is made. For loops,
   *   which use its `data` and `offset`
   * @returns the reservation; undefined when there is no room now
   * @throws as trySend
   */
  tryReserve(bytes: number, reuse?: Reservation): Reservation | undefined {
    return this.stager.tryReserve(bytes, reuse);
  }

  /**
   * As tryReserve, and waits for room.
   *
   * @throws as tryReserve; RDMA_ERR_TIMEOUT and RDMA_ERR_ABORTED while it waits: nothing is reserved then
   */
  async reserve(bytes: number, options: SendOptions = {}): Promise<Reservation> {
    let reservation: Reservation | undefined;
    await this.producer.whenRoom(() => {
      reservation = this.tryReserve(bytes);
      return reservation?.sequence ?? 0;
    }, options);
    return reservation!;
  }

  /**
   * Waits until a message was acknowledged, by default the last one taken.
   *
   * @throws RdmaError RDMA_ERR_CLOSED, or the error with which the outbox has failed; RDMA_ERR_TIMEOUT;
   *   RDMA_ERR_ABORTED
   */
  async whenAcknowledged(sequence = this.sequence, options: SendOptions = {}): Promise<void> {
    await this.producer.whenPast(sequence, () => this.acknowledged, options, 'the acknowledgement of');
  }

  /**
   * Waits until a message was written to the lane, by default the last one taken. Published is not yet delivered: a
   * message that was published and not acknowledged is still kept here.
   *
   * @throws as {@link Outbox.whenAcknowledged}
   */
  async whenPublished(sequence = this.sequence, options: SendOptions = {}): Promise<void> {
    await this.producer.whenPast(sequence, () => this.published, options, 'the writing of');
  }

  /**
   * Handles what has completed: credits, acknowledgements, failures. Only with `wait: 'busy'` it is the caller's to
   * call, and not while something is awaited: send(), reserve() and the others poll themselves then.
   *
   * @returns how many completions there were
   */
  poll(): number {
    return this.isBusy ? this.link.pollOnce() : this.link.poll(1);
  }

  /**
   * Leaves the inbox that it is connected to, and asks `to` again where to connect. For whoever knows that the inbox is
   * elsewhere: of a machine that has lost its power a connection hears nothing. What was not acknowledged is sent
   * again. While it connects, or has ended, this does nothing.
   */
  reconnect(): void {
    this.link.renew(new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox is elsewhere'));
  }

  // ---- End

  /**
   * Takes nothing more, waits until everything that was sent is acknowledged, but not longer than `closeMs`, and gives
   * the memory back. That includes calls of send() that wait for room, and what a cork() has collected; not
   * reservations that nobody commits. A second call answers the same promise.
   *
   * @returns what was given up, as it was not acknowledged in time; `onConnection` gets the same (`abandoned`)
   */
  close(): Promise<OutboxRest> {
    return this.producer.close();
  }

  /** As {@link Outbox.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
