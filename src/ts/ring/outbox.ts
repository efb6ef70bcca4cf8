// An outbox: the producer's end of a lane, through reconnects.
//
// Invariant: a message that send() took is kept until the inbox acknowledges it, and is written again after a
// reconnect unless the inbox says that it was delivered. So it is delivered once per incarnation of the inbox, or the
// outbox fails and says which messages were not acknowledged.
import { withDeadline } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkInteger } from '../core/validate.js';
import { parseDocument } from '../connect/index.js';
import { CompletionOpcode, CompletionStatus, completionStatusWords, type PortAddress } from '../verbs/index.js';
import { tell } from './callback.js';
import { CONTROL_RECEIVES, type Connection } from './connection.js';
import { Reply } from './documents.js';
import { Intake, type IntakeHost } from './intake.js';
import { BATCH_BYTES } from './lane-writer.js';
import { negotiate } from './negotiation.js';
import {
  checkOutboxOptions,
  type OutboxOptions,
  type OutboxSettings,
  type Part,
  type SendOptions,
} from './outbox-options.js';
import { Payloads } from './payloads.js';
import type { PortDevice, PortDomain, RingPort } from './port.js';
import { Pump } from './pump.js';
import { Reconnector, refusal } from './reconnector.js';
import type { Reservation } from './reservation.js';
import { Home, Phase, Retained } from './retained.js';
import { OutboxCounters, type OutboxStatus, type Stall } from './status.js';
import { systemPort } from './system-port.js';
import { WaitList } from './wait-list.js';

// As constants of this file: what another file exports is looked up at each use, and through an index by a call.
const { SUCCESS } = CompletionStatus;
const { RECEIVE_WITH_IMM } = CompletionOpcode;

const HANDSHAKE_TIMEOUT_MS = 5000;
const SERVICE = 'onepiece-inbox';
const NOTHING = new Uint8Array(0);

/** Made by {@link Outbox.connect}. */
export class Outbox implements IntakeHost, AsyncDisposable {
  /** Identity of this incarnation of the producer, 32 hexadecimal digits. */
  readonly identity: string;
  /** Sums since the outbox was opened. */
  readonly counters = new OutboxCounters();

  private readonly options: OutboxOptions;
  private readonly settings: OutboxSettings;
  private readonly port: RingPort;
  private readonly device: PortDevice;
  private readonly ownsDevice: boolean;
  private readonly address: PortAddress;
  private readonly pd: PortDomain;
  private readonly pump: Pump;
  private readonly retained: Retained;
  private readonly payloads: Payloads;
  private readonly intake: Intake;
  private readonly reconnector: Reconnector;
  private readonly ending = new AbortController();
  private readonly room: WaitList;
  private readonly progress: WaitList;
  /** @internal */
  connection: Connection | undefined;
  private lastInbox = '';
  private reached = 0; // highest sequence ever written to a lane
  private stalledBy: Stall | undefined;
  private failure: RdmaError | undefined;
  private polling = false;
  private sending = false;
  private corks = 0; // calls of cork() without their uncork()
  private collectedBytes = 0; // taken and not written since
  private collectedMs = 0; // when that began
  private readonly parts: Part[] = []; // of the message that is being taken
  private broken: RdmaError | undefined; // found while polling; handled after it
  private closing: Promise<void> | undefined;

  private constructor(options: OutboxOptions, port: RingPort) {
    const settings = checkOutboxOptions(options);
    this.options = options;
    this.settings = settings;
    this.port = port;
    this.identity = port.identity();
    this.room = new WaitList(port.clock);
    this.progress = new WaitList(port.clock);
    this.reconnector = new Reconnector({
      clock: port.clock,
      reconnectMs: settings.reconnectMs,
      signal: this.ending.signal,
      connect: () => this.connectOnce(),
      settled: () => this.connection !== undefined || this.failure !== undefined || this.closing !== undefined,
      fail: (error) => this.fail(error),
    });
    const { device, owned } = port.device(options.device);
    this.device = device;
    this.ownsDevice = owned;
    let pd: PortDomain | undefined;
    try {
      this.address = this.device.portAddress();
      pd = this.device.allocateProtectionDomain();
      this.pd = pd;
      const { retainBytes: bytes, retainMessages } = settings;
      this.retained = new Retained(this.pd.registerMemory({ bytes }), bytes, retainMessages);
      this.payloads = new Payloads(this.pd, settings.pullBytes);
      const capacity = Math.min(this.sendDepth + CONTROL_RECEIVES, this.device.attributes.maxCqe);
      this.pump = new Pump(
        this.device,
        port.clock,
        capacity,
        settings.wait,
        () => this.poll(),
        () => {},
      );
      this.intake = new Intake(this, settings, this.retained, this.payloads);
    } catch (error) {
      pd?.close();
      if (this.ownsDevice) this.device.close();
      throw error;
    }
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
      await outbox.reconnector.start();
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
    return this.intake.maxLaneMessageBytes;
  }

  /** The largest message in bytes, pulled ones included. */
  get maxMessageBytes(): number {
    return this.intake.maxMessageBytes;
  }

  /** Everything up to this sequence was acknowledged. */
  get acknowledged(): number {
    return this.retained.acknowledged;
  }

  /** Everything up to this sequence was written to the lane at some time. */
  get published(): number {
    return this.reached;
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
      published: this.reached,
      acknowledged: retained.acknowledged,
      unacknowledgedMessages: retained.count,
      unacknowledgedBytes: retained.heldBytes,
      oldestUnacknowledgedMs: Math.max(0, oldest),
      laneMessages: connection === undefined ? 0 : connection.sent - connection.released,
      laneSlots: connection?.lane.slots ?? 0,
      laneBytes: connection?.lane.dataBytes ?? 0,
      payloadBytes: this.payloads.registeredBytes,
      waiting: this.room.length,
      stalledBy: this.stalledBy ?? connection?.stall,
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
    // A callback may come back here.
    if (this.sending) return this.intake.trySend([first!, second!, third!, ...more], count);
    const list = this.parts;
    list[0] = first!;
    list[1] = second!;
    list[2] = third!;
    for (let i = 0; i < more.length; i++) list[3 + i] = more[i]!;
    this.sending = true;
    try {
      return this.intake.trySend(list, count);
    } finally {
      this.sending = false;
      for (let i = 0; i < count; i++) list[i] = NOTHING;
    }
  }

  /**
   * From now on messages are collected, and written together: for many small ones that are at hand, one doorbell and one
   * completion instead of one for each. They wait until {@link Outbox.uncork}, until there is no room for another one, or
   * until so many bytes have been collected that waiting gains nothing. Their age in {@link Outbox.status} counts from when
   * collecting began. May be called again before that; each call needs its uncork().
   */
  cork(): void {
    if (this.corks === 0) this.collectedMs = this.pump.nowMs();
    this.corks++;
  }

  /** Writes what has been collected, if this ends the outermost cork(). Without a cork() it does nothing. */
  uncork(): void {
    if (this.corks === 0) return;
    this.corks--;
    if (this.corks === 0) this.writeCollected();
  }

  /** @internal Of messages that are collected, when that began: reading the clock takes as long as sending one of them. */
  nowMs(): number {
    return this.corks > 0 ? this.collectedMs : this.pump.nowMs();
  }

  private writeCollected(): void {
    this.collectedBytes = 0;
    if (this.corks > 0) this.collectedMs = this.pump.nowMs();
    this.transmit();
  }

  /** @internal */
  taken(bytes: number): void {
    if (this.corks > 0) {
      this.collectedBytes += bytes;
      if (this.collectedBytes < BATCH_BYTES) return;
    }
    this.writeCollected();
  }

  /** @internal */
  stalled(cause: Stall): void {
    if (this.corks > 0) this.writeCollected();
    if (this.stalledBy === cause) return;
    this.stalledBy = cause;
    tell(this.options.onStall, { type: 'stalled', cause });
  }

  private flowing(): void {
    if (this.stalledBy === undefined || this.room.length > 0) return;
    this.stalledBy = undefined;
    tell(this.options.onStall, { type: 'flowing' });
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
   * A place for one message, to be filled and committed; nothing is copied by this side then. On a soft device it is the
   * inbox's own memory, if there is credit and nothing before it waits; else, and on every other device, it is memory that is
   * written to the lane when the message is committed. What the lane cannot take gets memory from which the inbox pulls.
   *
   * A message that was built in the lane is read there by whoever resends it after the inbox has died: an application that
   * changes a received message before it acknowledges it changes what is sent again. {@link Outbox.send} keeps a copy.
   *
   * @param bytes the most that the message may take, 0 or more
   * @param reuse a reservation of this outbox that has ended: it becomes the new one, and none is made. For loops, which use
   *   its `data` and `offset`
   * @returns the place; undefined when there is no room now
   * @throws as trySend
   */
  tryReserve(bytes: number, reuse?: Reservation): Reservation | undefined {
    return this.intake.tryReserve(bytes, reuse);
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

  /** @internal */
  checkOpen(): void {
    if (this.isEnded) throw this.endError();
  }

  /** @internal True when nothing is sent any more. */
  get isEnded(): boolean {
    return this.failure !== undefined || this.closing !== undefined;
  }

  private async whenRoom(attempt: () => number, options: SendOptions): Promise<number> {
    const signal = checkAbortSignal('signal', options.signal);
    if (options.timeoutMs !== undefined) checkInteger('timeoutMs', options.timeoutMs, 1, 2 ** 31 - 1);
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the call was aborted', { cause: signal.reason });
    if (this.room.length === 0) {
      const sequence = attempt();
      if (sequence > 0) return sequence;
    }
    this.counters.stalls++;
    return this.room.wait(attempt, options.timeoutMs, signal, 'room in the lane');
  }

  /**
   * Waits until a message was acknowledged, by default the last one taken.
   *
   * @throws RdmaError RDMA_ERR_CLOSED, or the error with which the outbox has failed; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
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
    const signal = checkAbortSignal('signal', options.signal);
    if (watermark() >= sequence) return;
    this.checkOpen();
    const done = () => (watermark() >= sequence ? 1 : 0);
    await this.progress.wait(done, options.timeoutMs, signal, `${what} message ${sequence}`);
  }

  private endError(): RdmaError {
    return this.failure ?? new RdmaError('RDMA_ERR_CLOSED', 'the outbox is closed');
  }

  // Writes what can be written now.
  private transmit(): void {
    const { connection } = this;
    if (connection === undefined) return;
    const from = connection.sent;
    try {
      connection.transmit();
    } catch (error) {
      this.lose(connection, error as RdmaError);
    }
    if (from < this.reached) this.counters.resent += Math.min(connection.sent, this.reached) - from;
    if (connection.sent <= this.reached) return;
    this.reached = connection.sent;
    if (this.progress.length > 0) this.progress.wakeAny();
  }

  // ---- Completions

  /**
   * Handles what has completed: credits, acknowledgements, failures. Only with `wait: 'busy'` it is the caller's to
   * call.
   *
   * @returns how many completions there were
   */
  poll(): number {
    const { connection } = this;
    if (this.polling || connection === undefined || this.pump.cq.closed) return 0;
    this.polling = true;
    this.pump.polled();
    let count = 0;
    try {
      count = this.pump.cq.poll();
      for (let i = 0; i < count; i++) this.handle(connection, i);
      if (count > 0 && this.broken === undefined) {
        connection.repost();
        this.transmit();
      }
    } catch (error) {
      this.broken ??= error instanceof RdmaError ? error : undefined;
      if (this.broken === undefined) throw error;
    } finally {
      this.polling = false;
    }
    this.afterPoll(connection, count);
    return count;
  }

  private afterPoll(connection: Connection, count: number): void {
    if (this.broken !== undefined) {
      const reason = this.broken;
      this.broken = undefined;
      this.lose(connection, reason);
      return;
    }
    if (count === 0) return;
    this.room.wake();
    this.flowing();
    if (connection.draining) this.drained(connection);
  }

  private handle(connection: Connection, i: number): void {
    const { completions } = this.pump.cq;
    if (completions.qpNum(i) !== connection.qp.qpNum) return; // of a connection before this one
    const status = completions.status(i);
    if (status !== SUCCESS) {
      const words = `the inbox cannot be written: ${completionStatusWords(status)}`;
      this.broken ??= new RdmaError('RDMA_ERR_PEER_GONE', words);
      return;
    }
    if (completions.opcode(i) === RECEIVE_WITH_IMM) {
      const wasDraining = connection.draining;
      const { spilled } = connection;
      const acknowledged = connection.controlArrived();
      this.counters.spilled += connection.spilled - spilled;
      if (acknowledged < 0)
        this.broken ??= new RdmaError('RDMA_ERR_PROTOCOL', 'the inbox acknowledges what was not sent');
      else this.acknowledgedUpTo(acknowledged);
      if (connection.draining && !wasDraining) tell(this.options.onConnection, { type: 'draining' });
    } else {
      connection.sendCompleted(completions.wrId(i));
    }
  }

  private acknowledgedUpTo(sequence: number): void {
    if (this.retained.acknowledge(sequence) === 0) return;
    this.payloads.acknowledge(sequence);
    this.reconnector.progress();
    if (this.progress.length > 0) this.progress.wakeAny();
    tell(this.options.onAcknowledged, this.retained.acknowledged);
  }

  // An inbox that drains is left when it has acknowledged what it got; the next one takes the rest.
  private drained(connection: Connection): void {
    if (this.retained.acknowledged < connection.sent) return;
    this.lose(connection, new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox drains and takes nothing more'));
  }

  // ---- Connecting

  private lose(connection: Connection, reason: RdmaError): void {
    if (this.connection !== connection || this.closing !== undefined) return;
    this.connection = undefined;
    connection.close();
    // What the old queue pair left in the completion queue would take the place of what the next one brings.
    while (!this.pump.cq.closed && this.pump.cq.poll() > 0);
    tell(this.options.onConnection, { type: 'lost', reason });
    if (this.reconnector.current === undefined) void this.reconnector.start().catch(() => {});
  }

  private async connectOnce(): Promise<void> {
    const { to, secret } = this.options;
    const { signal } = this.ending;
    const where = typeof to === 'function' ? await this.find(to) : to;
    const channel = await this.port.connect({
      host: where.host,
      port: where.port,
      secret,
      service: SERVICE,
      name: this.settings.name,
      timeoutMs: HANDSHAKE_TIMEOUT_MS,
      signal,
    });
    let connection: Connection | undefined;
    try {
      connection = await negotiate(channel, {
        identity: this.identity,
        name: this.settings.name,
        address: this.address,
        pd: this.pd,
        cq: this.pump.cq,
        retained: this.retained,
        payloads: this.payloads,
        slots: this.settings.slots,
        dataBytes: this.settings.dataBytes,
        inlineBytes: this.settings.inlineBytes,
        inPlace: this.settings.inPlace && this.address.type === 'soft',
        checksum: this.settings.checksum,
        sendDepth: this.sendDepth,
        timeoutMs: HANDSHAKE_TIMEOUT_MS,
        signal,
        lastInbox: this.lastInbox,
      });
      if (this.closing !== undefined) throw this.endError();
      if (channel.closed) throw channel.error ?? new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox went away');
      // Here, as nothing can be taken between this and the beginning.
      this.checkSizes(connection);
    } catch (error) {
      connection?.close();
      channel.destroy();
      throw error;
    }
    this.begin(connection);
  }

  // Where the inbox is now; a function of the user's may never answer.
  private find<T>(to: () => T | Promise<T>): Promise<T> {
    return withDeadline(Promise.resolve().then(to), {
      timeoutMs: HANDSHAKE_TIMEOUT_MS,
      signal: this.ending.signal,
      late: `to() did not answer within ${HANDSHAKE_TIMEOUT_MS} ms`,
      aborted: 'the outbox is closed',
      timers: this.port.clock,
    });
  }

  // What is kept has to fit the new lane.
  private checkSizes(connection: Connection): void {
    const { retained } = this;
    const { dataBytes, maxPullBytes } = connection.lane;
    for (let sequence = connection.sent + 1; sequence <= retained.last; sequence++) {
      const isPulled = retained.homeOf(sequence) === Home.PAYLOAD;
      const isOpen = retained.phaseOf(sequence) === Phase.OPEN;
      const length = isOpen && !isPulled ? retained.spaceOf(sequence) : retained.lengthOf(sequence);
      const room = isPulled ? maxPullBytes : dataBytes;
      if (length > room) throw this.intake.tooLarge(length, room);
    }
  }

  private begin(connection: Connection): void {
    this.connection = connection;
    this.lastInbox = connection.lane.inbox;
    this.intake.connected(connection);
    this.counters.connects++;
    const { channel } = connection;
    channel.onMessage = (document) => {
      const reply = parseDocument(Reply, document, 'message');
      if (reply.type === 'error') this.lose(connection, refusal(reply.code, reply.message));
    };
    channel.onClose = (error) => {
      this.poll(); // its last report may be there already
      this.lose(connection, error ?? new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox closed the connection'));
    };
    try {
      channel.send({ type: 'ready' });
    } catch (error) {
      this.lose(connection, error as RdmaError);
      return;
    }
    this.acknowledgedUpTo(Math.max(this.retained.acknowledged, connection.lane.acknowledged));
    tell(this.options.onConnection, { type: 'open' });
    this.transmit();
    this.room.wake();
    this.flowing();
    this.pump.schedule();
  }

  private fail(error: RdmaError): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.room.reject(error);
    this.progress.reject(error);
    if (this.closing === undefined) tell(this.options.onConnection, { type: 'failed', reason: error });
  }

  // ---- End

  /**
   * Closes the connection and gives the memory back. Call whenAcknowledged() first to be sure of what was sent: what
   * is not acknowledged by now may or may not have been delivered. A second call answers the same promise.
   */
  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    await null; // `closing` is set before anything below looks at it
    this.ending.abort();
    this.fail(new RdmaError('RDMA_ERR_CLOSED', 'the outbox is closed'));
    const { connection } = this;
    this.connection = undefined;
    connection?.close();
    await this.reconnector.current?.catch(() => {});
    this.pump.close();
    this.retained.memory.close();
    this.pd.close();
    if (this.ownsDevice) this.device.close();
  }

  /** As {@link Outbox.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
