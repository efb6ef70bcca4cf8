// An outbox: the producer's end of a lane, through reconnects.
//
// Invariant: a message that send() took is kept until the inbox acknowledges it, and is written again after a reconnect
// unless the inbox says that it was delivered. So each message is delivered once per incarnation of the inbox, or the
// outbox fails and says which messages were not acknowledged.
import { RdmaError } from '../core/errors.js';
import { hideSecret } from '../core/secret.js';
import { checkAbortSignal, checkInteger, checkObject } from '../core/validate.js';
import type { PortAddress } from '../verbs/index.js';
import { notify } from './callback.js';
import { CONTROL_RECEIVES, type Connection } from './connection.js';
import { abandoned, finishSending, restOf } from './finish.js';
import type { MessageStager } from './message-stager.js';
import { OutboxEnd } from './outbox-end.js';
import {
  checkOutboxOptions,
  type KeptOptions,
  type OutboxOptions,
  type OutboxRest,
  type OutboxSettings,
  type Part,
  type SendOptions,
} from './outbox-options.js';
import { OutboxLink } from './outbox-link.js';
import { PullMemory } from './pull-memory.js';
import type { PortDevice, PortDomain, PortMemory, RingPort } from './port.js';
import { type CompletionDriver, Pump } from './pump.js';
import type { Reservation } from './reservation.js';
import { SelfDrive } from './self-drive.js';
import { Home, Phase, RetainedMessages } from './retained-messages.js';
import { SendPath } from './send-path.js';
import { OutboxCounters, type OutboxStatus } from './status.js';
import { systemPort } from './system-port.js';
import { WaitList } from './wait-list.js';

const NOTHING = new Uint8Array(0);

/** Made by {@link Outbox.connect}. */
export class Outbox implements AsyncDisposable {
  /** Identity of this incarnation of the producer, 32 hexadecimal digits. */
  readonly identity: string;
  /** Sums since the outbox was opened. */
  readonly counters = new OutboxCounters();

  private readonly options: KeptOptions;
  private readonly settings: OutboxSettings;
  private readonly port: RingPort;
  private readonly device: PortDevice;
  private readonly ownsDevice: boolean;
  private readonly address: PortAddress;
  private readonly own: PortDomain; // of what is mapped, and of all the rest where there is no pool
  private readonly pd: PortDomain;
  private readonly pump: CompletionDriver;
  private readonly retained: RetainedMessages;
  private readonly pullMemory: PullMemory;
  private readonly link: OutboxLink;
  private readonly sendPath: SendPath;
  private readonly stager: MessageStager;
  private readonly ending = new AbortController();
  private readonly progress: WaitList;
  private readonly end = new OutboxEnd();
  private readonly drive: SelfDrive | undefined; // with `busy`, for those who await something
  private sending = false;
  private readonly parts: Part[] = []; // of the message that is being taken
  private closing: Promise<OutboxRest> | undefined;

  private constructor(options: OutboxOptions, port: RingPort) {
    const settings = checkOutboxOptions(options);
    const kept = hideSecret(options);
    this.options = kept;
    this.settings = settings;
    this.port = port;
    this.identity = port.identity();
    this.progress = new WaitList(port.clock);
    const { device, owned } = settings.pool?.lend(options.device) ?? port.device(options.device);
    this.device = device;
    this.ownsDevice = owned;
    let own: PortDomain | undefined;
    let memory: PortMemory | undefined;
    try {
      this.address = this.device.portAddress();
      own = this.device.allocateProtectionDomain();
      this.own = own;
      this.pd = settings.pool?.domain ?? own;
      const { retainBytes: bytes, retainMessages } = settings;
      memory = this.pd.registerMemory({ bytes });
      this.retained = new RetainedMessages(memory, bytes, retainMessages);
      this.pullMemory = new PullMemory(this.pd, settings.pullBytes);
      const capacity = Math.min(this.sendDepth + CONTROL_RECEIVES, this.device.attributes.maxCqe);
      const drain = (looks: number) => this.link.poll(looks);
      const beforeSleep = () => {};
      const { wait, poller } = settings;
      const parts = { kind: 'outbox', device, clock: port.clock, capacity, drain, beforeSleep } as const;
      this.pump = poller?.join(parts) ?? new Pump(device, port.clock, capacity, wait, () => drain(1), beforeSleep);
    } catch (error) {
      memory?.close();
      own?.close();
      if (this.ownsDevice) this.device.close();
      throw error;
    }
    this.link = this.createLink();
    const { pump, retained, pullMemory, link, counters, end } = this;
    const { clock } = port;
    this.sendPath = new SendPath({ counters, end, options: kept, settings, clock, pump, retained, pullMemory, link });
    this.stager = this.sendPath.stager;
    if (settings.wait === 'busy') {
      const isAwaited = () => this.connected && (this.sendPath.waiting > 0 || this.progress.length > 0);
      this.drive = new SelfDrive(clock, { isAwaited, poll: () => link.poll(1) });
    }
  }

  private createLink(): OutboxLink {
    const { identity, options, settings, port, address, own, pd, pump, sendDepth, retained, pullMemory, progress } =
      this;
    return new OutboxLink({
      host: {
        counters: this.counters,
        connected: (connection) => this.stager.connected(connection),
        roomMade: () => {
          this.sendPath.roomMade();
          if (this.sendPath.waiting > 0 || this.progress.length > 0) this.drive?.start();
        },
        fail: (error) => this.fail(error),
      },
      identity,
      options,
      settings,
      port,
      address,
      pd,
      mappings: own,
      pump,
      sendDepth,
      retained,
      pullMemory,
      progress,
      signal: this.ending.signal,
      end: this.end,
    });
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
    const outbox = new Outbox(options, port);
    try {
      await outbox.link.connect();
    } catch (error) {
      await outbox.close();
      throw error;
    }
    return outbox;
  }

  private get sendDepth(): number {
    return Math.min(2 * this.settings.slots + 16, this.device.attributes.maxQpWr);
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

  /** @internal */
  get connection(): Connection | undefined {
    return this.link.connection;
  }

  /** True while there is a connection to an inbox. */
  get connected(): boolean {
    return this.connection !== undefined;
  }

  /** True when reservations lie in the inbox's own memory. */
  get buildsInPlace(): boolean {
    return this.connection?.isMapped ?? false;
  }

  /** Name of the device that carries the bytes. */
  get deviceName(): string {
    return this.device.name;
  }

  /** What an operator asks: depth, bytes, ages, why it waits. Computed at each call; not for hot loops. */
  status(): OutboxStatus {
    const { retained, connection } = this;
    const oldest = retained.count === 0 ? 0 : this.port.clock.now() - retained.timeOf(retained.acknowledged + 1);
    return {
      connected: connection !== undefined,
      draining: connection?.draining ?? false,
      inPlace: this.buildsInPlace,
      sequence: retained.last,
      published: this.link.reached,
      acknowledged: retained.acknowledged,
      unacknowledgedMessages: retained.count,
      unacknowledgedBytes: retained.heldBytes,
      oldestUnacknowledgedMs: Math.max(0, oldest),
      laneMessages: connection === undefined ? 0 : connection.sent - connection.released,
      laneSlots: connection?.lane.slots ?? 0,
      laneBytes: connection?.lane.dataBytes ?? 0,
      payloadBytes: this.pullMemory.registeredBytes,
      waiting: this.sendPath.waiting,
      stalledBy: this.sendPath.stalledBy ?? connection?.stall,
      wakes: this.pump.counters.wakes,
      counters: { ...this.counters },
    };
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
    const { retained } = this;
    if (sequence <= retained.acknowledged || sequence > retained.last) return 0;
    if (retained.homeOf(sequence) !== Home.RETAINED || retained.phaseOf(sequence) !== Phase.READY) return 0;
    const from = retained.offsetOf(sequence);
    return this.trySend(retained.data.subarray(from, from + retained.lengthOf(sequence)));
  }

  /**
   * @internal The messages that are not acknowledged and whose bytes are retained here, in order; views, good until the
   * outbox is closed. For whoever takes them elsewhere after it has failed.
   */
  *unacknowledgedMessages(): Generator<{ readonly sequence: number; readonly bytes: Uint8Array }> {
    const { retained } = this;
    for (let sequence = retained.acknowledged + 1; sequence <= retained.last; sequence++) {
      if (retained.homeOf(sequence) !== Home.RETAINED || retained.phaseOf(sequence) !== Phase.READY) continue;
      const from = retained.offsetOf(sequence);
      yield { sequence, bytes: retained.data.subarray(from, from + retained.lengthOf(sequence)) };
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
    return this.whenRoom(() => this.trySend(...list), options);
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
    await this.whenRoom(() => {
      reservation = this.tryReserve(bytes);
      return reservation?.sequence ?? 0;
    }, options);
    return reservation!;
  }

  private whenRoom(attempt: () => number, options: SendOptions): Promise<number> {
    const taken = this.sendPath.whenRoom(attempt, options);
    if (this.sendPath.waiting > 0) this.drive?.start();
    return taken;
  }

  /**
   * Waits until a message was acknowledged, by default the last one taken.
   *
   * @throws RdmaError RDMA_ERR_CLOSED, or the error with which the outbox has failed; RDMA_ERR_TIMEOUT;
   *   RDMA_ERR_ABORTED
   */
  async whenAcknowledged(sequence = this.sequence, options: SendOptions = {}): Promise<void> {
    await this.whenPast(sequence, () => this.acknowledged, options, 'the acknowledgement of');
  }

  /**
   * Waits until a message was written to the lane, by default the last one taken. Published is not yet delivered: a
   * message that was published and not acknowledged is still kept here.
   *
   * @throws as {@link Outbox.whenAcknowledged}
   */
  async whenPublished(sequence = this.sequence, options: SendOptions = {}): Promise<void> {
    await this.whenPast(sequence, () => this.published, options, 'the writing of');
  }

  private async whenPast(sequence: number, watermark: () => number, options: SendOptions, what: string): Promise<void> {
    checkInteger('sequence', sequence, 0, this.sequence);
    checkObject('options', options);
    if (options.timeoutMs !== undefined) checkInteger('timeoutMs', options.timeoutMs, 1, 2 ** 31 - 1);
    const signal = checkAbortSignal('signal', options.signal);
    if (watermark() >= sequence) return;
    this.end.check();
    const done = () => (watermark() >= sequence ? 1 : 0);
    const past = this.progress.wait(done, options.timeoutMs, signal, `${what} message ${sequence}`);
    this.drive?.start();
    await past;
  }

  /**
   * Handles what has completed: credits, acknowledgements, failures. Only with `wait: 'busy'` it is the caller's to
   * call, and not while something is awaited: send(), reserve() and the others poll themselves then.
   *
   * @returns how many completions there were
   */
  poll(): number {
    return this.settings.wait === 'busy' ? this.link.pollOnce() : this.link.poll(1);
  }

  /**
   * Leaves the inbox that it is connected to, and asks `to` again where to connect. For whoever knows that the inbox is
   * elsewhere: of a machine that has lost its power a connection hears nothing. What was not acknowledged is sent
   * again. While it connects, or has ended, this does nothing.
   */
  reconnect(): void {
    this.link.renew(new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox is elsewhere'));
  }

  private fail(error: RdmaError): void {
    const { end } = this;
    if (end.failure !== undefined) return;
    end.failure = error;
    this.sendPath.fail(error);
    this.progress.reject(error);
    if (!end.isOver) notify(this.options.onConnection, { type: 'failed', reason: error });
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
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<OutboxRest> {
    const { end, sendPath, retained, progress } = this;
    const { closeMs } = this.settings;
    end.isClosing = true;
    await null; // out of a callback that may have called close()
    const onWait = () => this.drive?.start();
    if (end.failure === undefined) await finishSending({ sendPath, retained, progress, onWait }, closeMs);
    const rest = restOf(retained, this.published);
    end.isOver = true;
    this.ending.abort();
    if (end.failure === undefined && rest.unacknowledged > 0) {
      notify(this.options.onConnection, { type: 'abandoned', reason: abandoned(rest, closeMs) });
    }
    this.fail(new RdmaError('RDMA_ERR_CLOSED', 'the outbox is closed'));
    await this.link.close();
    this.pump.close();
    this.retained.memory.close();
    this.pullMemory.close();
    this.own.close();
    if (this.ownsDevice) this.device.close();
    return rest;
  }

  /** As {@link Outbox.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
