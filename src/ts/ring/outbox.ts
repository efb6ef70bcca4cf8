// An outbox: the producer's end of a lane, through reconnects.
//
// Invariant: a message that send() took is kept until the inbox acknowledges it, and is written again after a
// reconnect unless the inbox says that it was delivered. So it is delivered once per incarnation of the inbox, or the
// outbox fails and says which messages were not acknowledged.
import { ErrorCodes, RdmaError } from '../core/errors.js';
import {
  checkAbortSignal,
  checkBytes,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
} from '../core/validate.js';
import { parseDocument } from '../connect/index.js';
import {
  AccessFlags,
  CompletionOpcode,
  CompletionStatus,
  completionStatusWords,
  type Device,
  type PortAddress,
} from '../verbs/index.js';
import { tell } from './callback.js';
import { CONTROL_RECEIVES, Connection } from './connection.js';
import { MAX_DATA_BYTES, MAX_RETAINED_MESSAGES, MAX_SLOTS, Reply, RING_PROTOCOL } from './documents.js';
import { alignedLength, SLOT_BYTES } from './layout.js';
import {
  type Clock,
  type PortChannel,
  type PortDevice,
  type PortDomain,
  type PortMemory,
  pause,
  type RingPort,
} from './port.js';
import { Pump, WAIT_MODES, type WaitMode } from './pump.js';
import { Retained } from './retained.js';
import { systemPort } from './system-port.js';
import { WaitList } from './wait-list.js';

/** Where an inbox can be reached. */
export interface InboxAddress {
  host: string;
  port: number;
}

/** How to open an outbox. */
export interface OutboxOptions {
  /** The inbox's `bootstrap`; or a function that finds it, asked before every attempt to connect. */
  to: InboxAddress | (() => InboxAddress | Promise<InboxAddress>);
  /** Shared with the inbox, at least 8 bytes. */
  secret: string | Uint8Array;
  /** What the inbox calls this producer; default `pid-NUMBER`. */
  name?: string;
  /** Name of the device, default `soft0`; or an opened one, which stays the caller's. */
  device?: string | Device;
  /** Messages that may lie unreleased in the lane, 1 to 4095; default 64. The inbox may grant less. */
  slots?: number;
  /** Bytes of the lane's data ring, which is the largest message; default 1 MiB. The inbox may grant less. */
  dataBytes?: number;
  /** Messages that may be unacknowledged, 1 to 65536; default 1024. */
  retainMessages?: number;
  /** Bytes for unacknowledged messages; default 4 * dataBytes. */
  retainBytes?: number;
  /** How to wait; default `adaptive`. With `busy`, call {@link Outbox.poll}. */
  wait?: WaitMode;
  /** How long the inbox may be away before the outbox gives up, in ms; 0 gives up at once. Default 30 000. */
  reconnectMs?: number;
  /** Told each time the watermark of acknowledged messages moves. */
  onAcknowledged?: (sequence: number) => void;
  /** Told when the connection is lost, and when it is there again. */
  onConnection?: (event: ConnectionEvent) => void;
}

/** What happens to the connection of an outbox. */
export interface ConnectionEvent {
  type: 'open' | 'lost' | 'failed';
  reason?: RdmaError;
}

/** How to send. */
export interface SendOptions {
  /** Gives up waiting for room after this many ms; default never. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

const HANDSHAKE_TIMEOUT_MS = 5000;
const FIRST_RETRY_MS = 10;
const LAST_RETRY_MS = 500;
const SERVICE = 'onepiece-inbox';
const RETAINED_PAGE = 4096;

/** Made by {@link Outbox.connect}. */
export class Outbox implements AsyncDisposable {
  /** Identity of this incarnation of the producer, 32 hexadecimal digits. */
  readonly identity: string;
  /** Sums since the outbox was opened. */
  readonly counters = { messages: 0, bytes: 0, resent: 0, connects: 0, stalls: 0 };

  private readonly options: OutboxOptions;
  private readonly name: string;
  private readonly wanted: { slots: number; dataBytes: number };
  private readonly reconnectMs: number;
  private readonly port: RingPort;
  private readonly device: PortDevice;
  private readonly ownsDevice: boolean;
  private readonly address: PortAddress;
  private readonly pd: PortDomain;
  private readonly pump: Pump;
  private readonly retained: Retained;
  private readonly ending = new AbortController();
  private readonly room: WaitList;
  private readonly progress: WaitList;
  private connection: Connection | undefined;
  private connecting: Promise<void> | undefined;
  private lastInbox = '';
  private granted: number; // bytes of the lane, as the inbox granted them last
  private fruitless = 0; // connections in a row that ended without an acknowledgement
  private reached = 0; // highest sequence ever written to a lane
  private failure: RdmaError | undefined;
  private polling = false;
  private broken: RdmaError | undefined; // found while polling; handled after it
  private closing: Promise<void> | undefined;

  private constructor(options: OutboxOptions, port: RingPort) {
    this.port = port;
    this.identity = port.identity();
    this.room = new WaitList(port.clock);
    this.progress = new WaitList(port.clock);
    checkObject('options', options);
    this.options = options;
    if (typeof options.to !== 'function') checkObject('to', options.to);
    if (options.onAcknowledged !== undefined) checkFunction('onAcknowledged', options.onAcknowledged);
    if (options.onConnection !== undefined) checkFunction('onConnection', options.onConnection);
    this.name = checkString('name', options.name ?? `pid-${process.pid}`, { minLength: 1, maxLength: 128 });
    this.wanted = {
      slots: checkInteger('slots', options.slots ?? 64, 1, MAX_SLOTS),
      dataBytes: alignedLength(checkInteger('dataBytes', options.dataBytes ?? 2 ** 20, 64, MAX_DATA_BYTES)),
    };
    this.granted = this.wanted.dataBytes;
    const retainMessages = checkInteger('retainMessages', options.retainMessages ?? 1024, 1, MAX_RETAINED_MESSAGES);
    const retainBytes = checkInteger('retainBytes', options.retainBytes ?? 4 * this.wanted.dataBytes, 64, 2 ** 40);
    this.reconnectMs = checkInteger('reconnectMs', options.reconnectMs ?? 30_000, 0, 2 ** 31 - 1);
    const wait = checkOneOf('wait', options.wait ?? 'adaptive', WAIT_MODES);
    const { device, owned } = port.device(options.device);
    this.device = device;
    this.ownsDevice = owned;
    let pd: PortDomain | undefined;
    try {
      this.address = this.device.portAddress();
      pd = this.device.allocateProtectionDomain();
      this.pd = pd;
      const bytes = Math.ceil(alignedLength(retainBytes) / RETAINED_PAGE) * RETAINED_PAGE;
      this.retained = new Retained(this.pd.registerMemory({ bytes }), 0, bytes, retainMessages);
      const capacity = Math.min(this.sendDepth + CONTROL_RECEIVES, this.device.attributes.maxCqe);
      this.pump = new Pump(
        this.device,
        port.clock,
        capacity,
        wait,
        () => this.poll(),
        () => {},
      );
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
      await outbox.reconnect();
    } catch (error) {
      await outbox.close();
      throw error;
    }
    return outbox;
  }

  private get sendDepth(): number {
    return Math.min(2 * this.wanted.slots + 16, this.device.attributes.maxQpWr);
  }

  /** The largest message in bytes: what the lane and the retained memory take. Known exactly once connected. */
  get maxMessageBytes(): number {
    return Math.min(this.granted, this.retained.bytes);
  }

  /** Everything up to this sequence was acknowledged. */
  get acknowledged(): number {
    return this.retained.acknowledged;
  }

  /** Last sequence that was taken. */
  get sequence(): number {
    return this.retained.last;
  }

  /** Messages that are held and not acknowledged. */
  get unacknowledged(): number {
    return this.retained.count;
  }

  get connected(): boolean {
    return this.connection !== undefined;
  }

  get deviceName(): string {
    return this.device.name;
  }

  // ---- Sending

  /**
   * Takes a message if there is room for it, and writes it to the lane as soon as there is credit. The bytes are
   * copied; the caller's memory is free when this returns.
   *
   * @param parts the pieces of one message, put together in this order
   * @returns its sequence; 0 when there is no room now
   * @throws RdmaError RDMA_ERR_MESSAGE_TOO_LARGE; RDMA_ERR_CLOSED; RDMA_ERR_INVALID_ARGUMENT; the error with which the
   *   outbox has failed
   */
  trySend(...parts: readonly Uint8Array[]): number {
    if (this.failure !== undefined || this.closing !== undefined) throw this.endError();
    let length = 0;
    for (let i = 0; i < parts.length; i++) length += checkBytes('part', parts[i]).byteLength;
    if (length > this.maxMessageBytes) throw this.tooLarge(length, this.maxMessageBytes);
    const { retained } = this;
    if (!retained.fits(length)) return 0;
    const sequence = retained.begin(length);
    let at = 0;
    for (let i = 0; i < parts.length; i++) {
      const part = checkBytes('part', parts[i]); // as bytes, whatever view it is
      retained.fill(sequence, at, part);
      at += part.byteLength;
    }
    this.counters.messages++;
    this.counters.bytes += length;
    this.transmit();
    return sequence;
  }

  /**
   * As trySend, and waits for room. Messages leave in the order of the calls.
   *
   * @returns the sequence of the message
   * @throws as trySend; RDMA_ERR_TIMEOUT and RDMA_ERR_ABORTED while it waits: the message was not taken then
   */
  async send(parts: Uint8Array | readonly Uint8Array[], options: SendOptions = {}): Promise<number> {
    const list = Array.isArray(parts) ? (parts as readonly Uint8Array[]) : [parts as Uint8Array];
    const signal = checkAbortSignal('signal', options.signal);
    if (options.timeoutMs !== undefined) checkInteger('timeoutMs', options.timeoutMs, 1, 2 ** 31 - 1);
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'send was aborted');
    if (this.room.length === 0) {
      const sequence = this.trySend(...list);
      if (sequence > 0) return sequence;
    }
    this.counters.stalls++;
    return this.room.wait(() => this.trySend(...list), options.timeoutMs, signal, 'room in the lane');
  }

  /**
   * Waits until a message was acknowledged, by default the last one taken.
   *
   * @throws RdmaError RDMA_ERR_CLOSED, or the error with which the outbox has failed; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
   */
  async whenAcknowledged(sequence = this.sequence, options: SendOptions = {}): Promise<void> {
    checkInteger('sequence', sequence, 0, this.sequence);
    const signal = checkAbortSignal('signal', options.signal);
    if (this.acknowledged >= sequence) return;
    if (this.failure !== undefined || this.closing !== undefined) throw this.endError();
    const done = () => (this.acknowledged >= sequence ? 1 : 0);
    await this.progress.wait(done, options.timeoutMs, signal, `the acknowledgement of message ${sequence}`);
  }

  private tooLarge(length: number, room: number): RdmaError {
    const words = `a message of ${length} bytes does not fit a lane of ${room} bytes`;
    return new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', words, {
      remedy: 'raise dataBytes and retainBytes of the outbox, and maxDataBytes of the inbox',
    });
  }

  private endError(): RdmaError {
    return this.failure ?? new RdmaError('RDMA_ERR_CLOSED', 'the outbox is closed');
  }

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
    if (connection.sent > this.reached) this.reached = connection.sent;
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
    if (this.broken !== undefined) {
      const reason = this.broken;
      this.broken = undefined;
      this.lose(connection, reason);
    } else if (count > 0) {
      this.room.wake();
    }
    return count;
  }

  private handle(connection: Connection, i: number): void {
    const { completions } = this.pump.cq;
    if (completions.qpNum(i) !== connection.qp.qpNum) return; // of a connection before this one
    const status = completions.status(i);
    if (status !== CompletionStatus.SUCCESS) {
      const words = `the inbox cannot be written: ${completionStatusWords(status)}`;
      this.broken ??= new RdmaError('RDMA_ERR_PEER_GONE', words);
      return;
    }
    if (completions.opcode(i) === CompletionOpcode.RECEIVE_WITH_IMM) {
      const acknowledged = connection.controlArrived();
      if (acknowledged < 0)
        this.broken ??= new RdmaError('RDMA_ERR_PROTOCOL', 'the inbox acknowledges what was not sent');
      else this.acknowledgedUpTo(acknowledged);
    } else {
      connection.sendCompleted(completions.wrId(i));
    }
  }

  private acknowledgedUpTo(sequence: number): void {
    if (this.retained.acknowledge(sequence) === 0) return;
    this.fruitless = 0;
    this.progress.wakeAny();
    tell(this.options.onAcknowledged, this.retained.acknowledged);
  }

  // ---- Connecting

  private lose(connection: Connection, reason: RdmaError): void {
    if (this.connection !== connection || this.closing !== undefined) return;
    this.connection = undefined;
    connection.close();
    // What the old queue pair left in the completion queue would take the place of what the next one brings.
    while (!this.pump.cq.closed && this.pump.cq.poll() > 0);
    tell(this.options.onConnection, { type: 'lost', reason });
    if (this.connecting === undefined) void this.reconnect().catch(() => {});
  }

  private reconnect(): Promise<void> {
    this.connecting ??= this.connectUntil(this.port.clock.now() + this.reconnectMs).finally(() => {
      this.connecting = undefined;
      // Lost again before anybody noticed that it was there.
      const gone = this.connection === undefined && this.failure === undefined && this.closing === undefined;
      if (gone) void this.reconnect().catch(() => {});
    });
    return this.connecting;
  }

  private async connectUntil(deadline: number): Promise<void> {
    let pauseMs = FIRST_RETRY_MS;
    // An inbox that accepts and then fences, again and again, is not asked without pause.
    if (this.fruitless++ > 0)
      await pause(this.port.clock, Math.min(LAST_RETRY_MS, pauseMs * 2 ** this.fruitless), this.ending.signal);
    for (;;) {
      try {
        await this.connectOnce();
        return;
      } catch (cause) {
        const error =
          cause instanceof RdmaError ? cause : new RdmaError('RDMA_ERR_PEER_GONE', String(cause), { cause });
        const final = permanent.has(error.code) || this.port.clock.now() + pauseMs > deadline;
        if (final || this.closing !== undefined) {
          this.fail(error);
          throw error;
        }
      }
      await pause(this.port.clock, pauseMs, this.ending.signal);
      pauseMs = Math.min(LAST_RETRY_MS, pauseMs * 2);
    }
  }

  private async connectOnce(): Promise<void> {
    const { to, secret } = this.options;
    const signal = this.ending.signal;
    const { host, port } = typeof to === 'function' ? await inTime(this.port.clock, to, signal) : to;
    const { name } = this;
    const channel = await this.port.connect({
      host,
      port,
      secret,
      service: SERVICE,
      name,
      timeoutMs: HANDSHAKE_TIMEOUT_MS,
      signal,
    });
    let connection: Connection | undefined;
    try {
      connection = await this.negotiate(channel, signal);
      if (this.closing !== undefined) throw this.endError();
      if (channel.closed) throw channel.error ?? new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox went away');
      // Here, as nothing can be taken between this and the beginning.
      for (let sequence = connection.sent + 1; sequence <= this.retained.last; sequence++) {
        const length = this.retained.lengthOf(sequence);
        if (length > connection.dataBytes) throw this.tooLarge(length, connection.dataBytes);
      }
    } catch (error) {
      connection?.close();
      channel.destroy();
      throw error;
    }
    this.begin(connection);
  }

  private async negotiate(channel: PortChannel, signal: AbortSignal): Promise<Connection> {
    const staging = this.pd.registerMemory({
      bytes: SLOT_BYTES * (1 + this.wanted.slots),
      access: AccessFlags.LOCAL_WRITE | AccessFlags.REMOTE_WRITE,
    });
    try {
      return await this.negotiateWith(channel, signal, staging);
    } catch (error) {
      staging.close();
      throw error;
    }
  }

  private async negotiateWith(channel: PortChannel, signal: AbortSignal, staging: PortMemory): Promise<Connection> {
    const { address, retained, wanted } = this;
    const qp = this.pd.createQueuePair({
      sendCq: this.pump.cq,
      maxSendWr: this.sendDepth,
      maxRecvWr: CONTROL_RECEIVES,
    });
    try {
      qp.toInit(address, AccessFlags.REMOTE_WRITE);
      qp.postEmptyReceives(CONTROL_RECEIVES);
      channel.send({
        type: 'offer',
        protocol: RING_PROTOCOL,
        transport: address.type === 'soft' ? 'soft' : 'verbs',
        producer: this.identity,
        name: this.name,
        slots: wanted.slots,
        dataBytes: wanted.dataBytes,
        retainMessages: retained.capacity,
        acknowledged: retained.acknowledged,
        control: { address: staging.address, rkey: staging.rkey },
        endpoint: qp.endpoint(address),
      });
      const reply = parseDocument(Reply, await channel.receive({ timeoutMs: HANDSHAKE_TIMEOUT_MS, signal }), 'answer');
      if (reply.type === 'error') throw refusal(reply.code, reply.message);
      const known = reply.inbox === this.lastInbox;
      const low = known ? retained.acknowledged : 0;
      const sane = reply.slots <= wanted.slots && reply.dataBytes <= wanted.dataBytes;
      if (!sane || reply.delivered < low || reply.delivered > retained.last || reply.acknowledged > reply.delivered) {
        throw new RdmaError('RDMA_ERR_PROTOCOL', 'the inbox answers with numbers that were not offered');
      }
      if (reply.delivered < retained.acknowledged) {
        throw new RdmaError('RDMA_ERR_PROTOCOL', 'the inbox asks for messages that it has acknowledged');
      }
      qp.toReadyToReceive(address, reply.endpoint);
      qp.toReadyToSend();
      return new Connection(channel, qp, reply, retained, staging, this.sendDepth);
    } catch (error) {
      qp.close();
      throw error;
    }
  }

  private begin(connection: Connection): void {
    this.connection = connection;
    this.lastInbox = connection.inbox;
    this.granted = connection.dataBytes;
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
    this.acknowledgedUpTo(Math.max(this.retained.acknowledged, connection.acknowledged));
    tell(this.options.onConnection, { type: 'open' });
    this.transmit();
    this.room.wake();
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
    await this.connecting?.catch(() => {});
    this.pump.close();
    this.retained.memory.close();
    this.pd.close();
    if (this.ownsDevice) this.device.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Failures that another attempt cannot mend. */
const permanent = new Set<string>([
  'RDMA_ERR_UNAUTHENTICATED',
  'RDMA_ERR_VERSION',
  'RDMA_ERR_REFUSED',
  'RDMA_ERR_INVALID_ARGUMENT',
  'RDMA_ERR_MESSAGE_TOO_LARGE',
]);

function refusal(code: string, message: string): RdmaError {
  const known = Object.values<string>(ErrorCodes).includes(code) ? code : 'RDMA_ERR_REFUSED';
  return new RdmaError(known, `the inbox refuses: ${message}`);
}

// Where the inbox is, by a function of the user that may never answer.
function inTime(
  clock: Clock,
  to: () => InboxAddress | Promise<InboxAddress>,
  signal: AbortSignal,
): Promise<InboxAddress> {
  return new Promise((resolve, reject) => {
    const give = (error: RdmaError) => {
      stop();
      reject(error);
    };
    const words = `to() did not answer within ${HANDSHAKE_TIMEOUT_MS} ms`;
    const takeBack = clock.after(HANDSHAKE_TIMEOUT_MS, () => give(new RdmaError('RDMA_ERR_TIMEOUT', words)));
    const onAbort = () => give(new RdmaError('RDMA_ERR_ABORTED', 'the outbox is closed'));
    const stop = () => {
      takeBack();
      signal.removeEventListener('abort', onAbort);
    };
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    Promise.resolve().then(to).then(resolve, reject).finally(stop);
  });
}
