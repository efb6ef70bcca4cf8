// An inbox: one consumer, any number of producers, a lane for each.
//
// Invariant: nothing that a producer does, or fails to do, reaches beyond its lane. Per producer incarnation the
// application sees messages 1..n in order, each once. A lane is fenced (queue pair destroyed, key revoked) before
// another lane of the same producer begins.
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkObject, checkOneOf, checkString } from '../core/validate.js';
import { parseDocument } from '../connect/index.js';
import {
  CompletionOpcode,
  CompletionStatus,
  completionStatusWords,
  type Device,
  type PortAddress,
} from '../verbs/index.js';
import { tell } from './callback.js';
import { MAX_DATA_BYTES, MAX_SLOTS, Offer, Ready } from './documents.js';
import { CONTROL_WR_ID, Lane, type LaneHost } from './lane.js';
import { countOfImm, laneOfImm } from './layout.js';
import { InboxMessage } from './message.js';
import type { PortChannel, PortDevice, PortDomain, PortMemory, PortQueuePair, PortServer, RingPort } from './port.js';
import { Pump, WAIT_MODES, type WaitMode } from './pump.js';
import { Session } from './session.js';
import { systemPort } from './system-port.js';

/** How to open an inbox. */
export interface InboxOptions {
  /** Shared with the producers, at least 8 bytes. */
  secret: string | Uint8Array;
  /** Where producers connect (TCP); default 127.0.0.1 and a free port. */
  host?: string;
  port?: number;
  /** Name of the device, default `soft0`; or an opened one, which stays the caller's. */
  device?: string | Device;
  /** The most producers at a time, 1 to 4096; default 64. Each may take up to `maxDataBytes` of memory. */
  maxLanes?: number;
  /** The most descriptors of a lane, 1 to 4095; default 1024. A lane has what its producer asks for, up to this. */
  maxSlots?: number;
  /** The most bytes of a lane's data ring; default 64 MiB. */
  maxDataBytes?: number;
  /** How to wait; default `adaptive`. With `busy`, call {@link Inbox.poll}. */
  wait?: WaitMode;
  /** Called with each message, in the turn in which it arrived. Without it, iterate over the inbox. */
  onMessage?: (message: InboxMessage) => void;
  /** Told of every lane that opens and ends. */
  onLane?: (event: LaneEvent) => void;
}

/** What happens to lanes. */
export interface LaneEvent {
  type: 'open' | 'fenced' | 'refused';
  /** Name of the producer, or of what is known of it. */
  from: string;
  /** Identity of the producer; empty when it was refused before it said. */
  producer: string;
  reason?: RdmaError;
}

const HANDSHAKE_TIMEOUT_MS = 5000;
const SEND_DEPTH = 4;
/** How long close() waits for producers to learn what was acknowledged. */
const REPORT_MS = 500;
const REMEMBERED_SESSIONS = 1024;
const POLLS_BEFORE_FLUSH = 64;
/** Slots that a greedy lane leaves to each lane that may come, when the completion queue is short. */
const RESERVED_SLOTS = 16;
/** Fenced lanes whose messages are still held, at least this many or twice the lanes, before new ones are put off. */
const MIN_ENDED_LANES = 16;
const SERVICE = 'onepiece-inbox';

/** Made by {@link Inbox.listen}. An async iterable of messages when no `onMessage` is given. */
export class Inbox implements LaneHost, AsyncIterable<InboxMessage>, AsyncDisposable {
  /** Identity of this incarnation, 32 hexadecimal digits. */
  readonly identity: string;
  /** Sums over all lanes since the inbox was opened. */
  readonly counters = { messages: 0, bytes: 0, lanesOpened: 0, fences: 0, quarantined: 0, refused: 0 };
  /** @internal */
  readonly address: PortAddress;

  private readonly options: InboxOptions;
  private readonly port: RingPort;
  private readonly device: PortDevice;
  private readonly ownsDevice: boolean;
  private readonly transport: string;
  private readonly pump: Pump;
  private readonly limits: { lanes: number; slots: number; dataBytes: number };
  private readonly lanes: (Lane | undefined)[];
  private readonly lanesByQp = new Map<number, Lane>();
  private readonly channels = new Map<Lane, PortChannel>();
  private readonly sessions = new Map<string, Session>();
  private readonly fenceWaiters = new Map<Lane, (() => void)[]>();
  private ended: Lane[] = []; // fenced lanes with views that are still held
  private readonly touched: Lane[] = [];
  private dirty: Lane[] = [];
  private hasCondemned = false;
  private completionsInUse = 0; // of the completion queue: what the lanes can have outstanding
  private polls = 0; // since the last flush, with the loop form
  private polling = false;
  // The completions that were polled, and up to where they are handled: a visit that throws leaves the rest for later.
  private polled = 0;
  private at = 0;
  private announced = 0; // messages of the completion at `at` that are not taken yet
  private server: PortServer | undefined;
  private closing: Promise<void> | undefined;
  private readonly queue: InboxMessage[] = [];
  private readonly takers: ((result: IteratorResult<InboxMessage>) => void)[] = [];

  private constructor(options: InboxOptions, port: RingPort) {
    this.port = port;
    this.identity = port.identity();
    checkObject('options', options);
    this.options = options;
    this.limits = {
      lanes: checkInteger('maxLanes', options.maxLanes ?? 64, 1, 4096),
      slots: checkInteger('maxSlots', options.maxSlots ?? 1024, 1, MAX_SLOTS),
      dataBytes: checkInteger('maxDataBytes', options.maxDataBytes ?? 64 * 2 ** 20, 64, MAX_DATA_BYTES),
    };
    const wait = checkOneOf('wait', options.wait ?? 'adaptive', WAIT_MODES);
    if (options.onMessage !== undefined) checkFunction('onMessage', options.onMessage);
    if (options.onLane !== undefined) checkFunction('onLane', options.onLane);
    this.lanes = new Array<Lane | undefined>(this.limits.lanes).fill(undefined);
    const { device, owned } = port.device(options.device);
    this.device = device;
    this.ownsDevice = owned;
    try {
      this.address = this.device.portAddress();
      this.transport = this.address.type === 'soft' ? 'soft' : 'verbs';
      const wanted = this.limits.lanes * (this.limits.slots + SEND_DEPTH);
      const capacity = Math.min(wanted, this.device.attributes.maxCqe);
      this.pump = new Pump(
        this.device,
        port.clock,
        capacity,
        wait,
        () => this.drain(this.deliver),
        () => this.flushDirty(true),
      );
    } catch (error) {
      this.closeDevice();
      throw error;
    }
  }

  /**
   * Opens an inbox.
   *
   * @returns the inbox, ready for producers at {@link Inbox.bootstrap}
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_NO_DEVICE; EADDRINUSE and EACCES for the port; ENOMEM
   */
  static async listen(options: InboxOptions): Promise<Inbox> {
    return Inbox.listenOn(systemPort, options);
  }

  /** @internal The same on another port. */
  static async listenOn(port: RingPort, options: InboxOptions): Promise<Inbox> {
    const inbox = new Inbox(options, port);
    try {
      inbox.server = await port.listen({
        host: checkString('host', options.host ?? '127.0.0.1', { minLength: 1, maxLength: 255 }),
        port: options.port ?? 0,
        secret: options.secret,
        service: SERVICE,
        maxPeers: inbox.limits.lanes * 2,
        onPeer: (channel) => void inbox.attach(channel),
      });
    } catch (error) {
      await inbox.close();
      throw error;
    }
    return inbox;
  }

  /** Where producers connect. */
  get bootstrap(): { host: string; port: number } {
    if (this.server === undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed');
    return this.server.address;
  }

  /** Name of the device that carries the bytes. */
  get deviceName(): string {
    return this.device.name;
  }

  /** Producers connected now. */
  get laneCount(): number {
    return this.lanesByQp.size;
  }

  /**
   * The loop form, for `wait: 'busy'`: handles what has arrived. `visit` is called with the lane for each message:
   * `lane.data`, `lane.offset`, `lane.length`, `lane.sequence`; it calls lane.release() and lane.acknowledge() then or
   * later. Allocates nothing. Reports go back when a quarter of a lane is released, and in every 64th poll.
   *
   * What `visit` throws comes out of here; the message counts as delivered, and the next poll goes on behind it.
   *
   * @returns how many completions there were
   * @throws RdmaError RDMA_ERR_CLOSED
   */
  poll(visit: (lane: Lane) => void): number {
    if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed');
    const count = this.drain(visit);
    // Also while messages come: they may be those of other lanes.
    if (++this.polls >= POLLS_BEFORE_FLUSH) {
      this.polls = 0;
      this.flushDirty(true);
    }
    if (this.dirty.length > 0) this.pump.schedule();
    return count;
  }

  [Symbol.asyncIterator](): AsyncIterator<InboxMessage> {
    if (this.options.onMessage !== undefined) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'an inbox with onMessage is not iterable');
    }
    return {
      next: () => {
        const message = this.queue.shift();
        if (message !== undefined) return Promise.resolve({ done: false, value: message });
        if (this.closing !== undefined) return Promise.resolve({ done: true, value: undefined });
        return new Promise((resolve) => this.takers.push(resolve));
      },
      return: () => Promise.resolve({ done: true, value: undefined }),
    };
  }

  private readonly deliver = (lane: Lane): void => {
    const message = new InboxMessage(lane);
    if (this.options.onMessage !== undefined) {
      this.options.onMessage(message);
      return;
    }
    const taker = this.takers.shift();
    if (taker !== undefined) taker({ done: false, value: message });
    else this.queue.push(message);
  };

  // ---- Completions

  private drain(visit: (lane: Lane) => void): number {
    if (this.polling || this.closing !== undefined) return 0;
    this.polling = true;
    try {
      let count = this.pollOnce(visit);
      if (this.hasCondemned) count += this.fenceCondemned(visit);
      return count;
    } finally {
      this.polling = false;
    }
  }

  private pollOnce(visit: (lane: Lane) => void): number {
    const { cq } = this.pump;
    if (cq.closed) return 0;
    if (this.at === this.polled) {
      this.polled = cq.poll();
      this.at = 0;
    }
    const from = this.at;
    try {
      while (this.at < this.polled) {
        if (this.announced === 0) this.announced = this.handle(this.at);
        this.take(visit);
        this.at++;
      }
    } finally {
      this.afterPoll();
    }
    return this.at - from;
  }

  // The messages that the completion at `at` has announced. A visit that throws leaves the rest of them announced.
  private take(visit: (lane: Lane) => void): void {
    while (this.announced > 0) {
      const lane = this.lanesByQp.get(this.pump.cq.completions.qpNum(this.at));
      // A visit may have closed the inbox.
      if (lane === undefined || this.closing !== undefined || lane.broken || !lane.take()) {
        if (lane?.broken) this.hasCondemned = true;
        this.announced = 0;
        return;
      }
      this.announced--;
      this.counters.messages++;
      this.counters.bytes += lane.length;
      visit(lane);
    }
  }

  // Everything but the messages themselves; answers how many of those there are.
  private handle(i: number): number {
    const { completions } = this.pump.cq;
    const lane = this.lanesByQp.get(completions.qpNum(i));
    if (lane === undefined) return 0; // of a lane that was fenced meanwhile
    const status = completions.status(i);
    if (completions.wrId(i) === CONTROL_WR_ID) {
      lane.controlSent();
      if (status === CompletionStatus.SUCCESS) this.markDirty(lane);
      else this.condemn(lane, this.completionError(lane, status));
      return 0;
    }
    lane.receiveUsed();
    this.touch(lane);
    if (status !== CompletionStatus.SUCCESS) {
      this.condemn(lane, this.completionError(lane, status));
      return 0;
    }
    if (lane.broken) return 0;
    const imm = completions.imm(i);
    const messages = countOfImm(imm);
    if (completions.opcode(i) !== CompletionOpcode.RECEIVE_WITH_IMM || laneOfImm(imm) !== lane.id || messages === 0) {
      lane.condemn('a completion that no outbox makes');
      this.hasCondemned = true;
      return 0;
    }
    return messages;
  }

  private touch(lane: Lane): void {
    if (lane.touched) return;
    lane.touched = true;
    this.touched.push(lane);
  }

  private afterPoll(): void {
    for (let lane = this.touched.pop(); lane !== undefined; lane = this.touched.pop()) {
      lane.touched = false;
      if (lane.condemned !== undefined || lane.fenced || lane.qp.closed) continue;
      try {
        lane.repostSome();
        lane.flush(false);
      } catch (error) {
        this.condemn(lane, error as RdmaError);
      }
    }
  }

  private completionError(lane: Lane, status: number): RdmaError {
    const why = `lane ${lane.id} of ${lane.session.name}: ${completionStatusWords(status)}`;
    return new RdmaError('RDMA_ERR_PEER_GONE', why);
  }

  /** @internal */
  markDirty(lane: Lane): void {
    if (lane.dirty || lane.fenced) return;
    lane.dirty = true;
    this.dirty.push(lane);
    if (!this.polling) this.pump.schedule();
  }

  private flushDirty(all: boolean): void {
    if (this.dirty.length === 0) return;
    const lanes = this.dirty;
    this.dirty = [];
    for (const lane of lanes) {
      lane.dirty = false;
      if (lane.condemned !== undefined) continue;
      try {
        lane.flush(all);
      } catch (error) {
        this.condemn(lane, error as RdmaError);
      }
    }
  }

  // ---- Lanes

  private condemn(lane: Lane, reason: RdmaError): void {
    if (lane.fenced) return;
    lane.condemned ??= reason;
    this.hasCondemned = true;
    if (!this.polling) this.pump.schedule();
  }

  private fenceCondemned(visit: (lane: Lane) => void): number {
    let count = 0;
    // Until all are fenced: what a visit throws must not make anybody forget one.
    while (this.hasCondemned) {
      const lane = this.lanes.find((each) => each?.condemned !== undefined && !each.fenced);
      if (lane === undefined) {
        this.hasCondemned = false;
        break;
      }
      lane.stop();
      // What arrived before is delivered first. Each turn takes something, and nothing new arrives on this lane.
      for (let turn = 0; turn < this.limits.slots + 1 && this.closing === undefined; turn++) {
        const taken = this.pollOnce(visit);
        count += taken;
        if (taken === 0) break;
      }
      if (!lane.fenced) this.fence(lane);
    }
    return count;
  }

  private fence(lane: Lane): void {
    const reason = lane.condemned ?? new RdmaError('RDMA_ERR_FENCED', 'the lane was fenced');
    this.lanesByQp.delete(lane.qp.qpNum);
    this.lanes[lane.id] = undefined;
    this.completionsInUse -= lane.slots + SEND_DEPTH;
    if (!lane.fence()) this.counters.quarantined++;
    this.counters.fences++;
    this.ended = this.ended.filter((old) => old.held > 0);
    if (lane.held > 0) this.ended.push(lane);
    const channel = this.channels.get(lane);
    this.channels.delete(lane);
    channel?.destroy(reason);
    for (const wake of this.fenceWaiters.get(lane) ?? []) wake();
    this.fenceWaiters.delete(lane);
    const { name: from, producer } = lane.session;
    tell(this.options.onLane, { type: 'fenced', from, producer, reason });
  }

  private async attach(channel: PortChannel): Promise<void> {
    let from = channel.peerName;
    let producer = '';
    try {
      const offer = parseDocument(Offer, await channel.receive({ timeoutMs: HANDSHAKE_TIMEOUT_MS }), 'offer');
      from = offer.name;
      producer = offer.producer;
      const lane = await this.openLane(offer);
      this.channels.set(lane, channel);
      channel.onClose = (error) =>
        this.condemn(lane, error ?? new RdmaError('RDMA_ERR_PEER_GONE', `${from} closed its outbox`));
      channel.onMessage = (document) => {
        parseDocument(Ready, document, 'ready');
        if (!lane.fenced) lane.onReady();
      };
      channel.send(lane.answer(this.identity));
      tell(this.options.onLane, { type: 'open', from, producer });
    } catch (error) {
      this.counters.refused++;
      const reason = error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_PROTOCOL', String(error));
      try {
        channel.send({ type: 'error', code: reason.code, message: reason.message.slice(0, 1000) });
      } catch {
        // The channel is gone: nobody is there to be told.
      }
      channel.close();
      tell(this.options.onLane, { type: 'refused', from, producer, reason });
    }
  }

  private async openLane(offer: Offer): Promise<Lane> {
    if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closing');
    if (offer.transport !== this.transport) {
      const words = `the producer is on a ${offer.transport} device, the inbox on ${this.device.name}`;
      throw new RdmaError('RDMA_ERR_REFUSED', words, { remedy: 'open both on the same kind of device' });
    }
    // Again after each wait: the producer may have come twice in the meantime.
    for (let old = this.laneOf(offer.producer); old !== undefined; old = this.laneOf(offer.producer)) {
      if (this.pump.cq.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the device of the inbox is closed');
      await this.fenceAndWait(old);
    }
    if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closing');
    let session = this.sessions.get(offer.producer);
    if (session !== undefined) {
      if (offer.acknowledged > session.acknowledged || offer.retainMessages !== session.retainMessages) {
        throw new RdmaError('RDMA_ERR_PROTOCOL', 'the producer remembers another history than the inbox');
      }
    } else {
      session = new Session(offer.producer, offer.name, offer.retainMessages, offer.acknowledged);
    }
    const id = this.lanes.indexOf(undefined);
    if (id < 0) {
      // One may become free: who asks tries again for as long as it is willing to.
      throw new RdmaError('RDMA_ERR_BUSY', `all ${this.limits.lanes} lanes are taken`, { remedy: 'raise maxLanes' });
    }
    const endedLanes = this.ended.reduce((count, old) => count + (old.held > 0 ? 1 : 0), 0);
    if (endedLanes >= Math.max(MIN_ENDED_LANES, 2 * this.limits.lanes)) {
      throw new RdmaError('RDMA_ERR_BUSY', `messages of ${endedLanes} lanes that have ended are not released yet`);
    }
    const slots = Math.min(offer.slots, this.limits.slots, this.slotsLeft());
    if (slots < 1) {
      const words = `the completion queue of ${this.device.name} has no room for another lane`;
      throw new RdmaError('RDMA_ERR_REFUSED', words, { remedy: 'lower maxLanes or maxSlots' });
    }
    const dataBytes = Math.min(offer.dataBytes, this.limits.dataBytes);
    const lane = new Lane(id, session, this, offer, slots, Math.floor(dataBytes / 64) * 64);
    this.lanes[id] = lane;
    this.lanesByQp.set(lane.qp.qpNum, lane);
    this.completionsInUse += slots + SEND_DEPTH;
    this.remember(session);
    this.counters.lanesOpened++;
    return lane;
  }

  private laneOf(producer: string): Lane | undefined {
    return this.lanes.find((lane) => lane?.session.producer === producer);
  }

  // How many slots the next lane may have, so that the completion queue can never overrun.
  private slotsLeft(): number {
    const { capacity } = this.pump.cq;
    const share = Math.floor(capacity / this.limits.lanes);
    const laneless = this.limits.lanes - this.lanesByQp.size - 1;
    return capacity - this.completionsInUse - laneless * Math.min(share, RESERVED_SLOTS + SEND_DEPTH) - SEND_DEPTH;
  }

  // The newest last; the oldest without a lane are forgotten.
  private remember(session: Session): void {
    this.sessions.delete(session.producer);
    this.sessions.set(session.producer, session);
    if (this.sessions.size <= REMEMBERED_SESSIONS + this.limits.lanes) return;
    for (const [producer, old] of this.sessions) {
      if (this.lanes.some((lane) => lane?.session === old)) continue;
      this.sessions.delete(producer);
      return;
    }
  }

  private fenceAndWait(lane: Lane): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.fenceWaiters.get(lane) ?? [];
      waiters.push(resolve);
      this.fenceWaiters.set(lane, waiters);
      this.condemn(lane, new RdmaError('RDMA_ERR_FENCED', `${lane.session.name} came again`));
    });
  }

  /** @internal */
  createLaneParts(
    slots: number,
    bytes: number,
    access: number,
  ): { pd: PortDomain; qp: PortQueuePair; memory: PortMemory } {
    const pd = this.device.allocateProtectionDomain();
    try {
      const qp = pd.createQueuePair({ sendCq: this.pump.cq, maxSendWr: SEND_DEPTH, maxRecvWr: slots });
      return { pd, qp, memory: pd.registerMemory({ bytes, access }) };
    } catch (error) {
      pd.close();
      throw error;
    }
  }

  // ---- End

  /**
   * Tells producers what was acknowledged, ends every lane and closes what the inbox owns. No message is delivered any
   * more; views of messages have length 0 when it has ended; what was not acknowledged stays with its producer. A second
   * call answers the same promise.
   */
  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  // What was released and acknowledged reaches the producers that still listen, in bounded time.
  private async reportAll(): Promise<void> {
    await null; // out of a handler that may have called close()
    const end = this.port.clock.now() + REPORT_MS;
    while (!this.pump.cq.closed && this.port.clock.now() < end) {
      try {
        this.pollOnce(() => {});
      } catch {
        return; // the device is going away
      }
      for (const lane of this.lanes) {
        try {
          lane?.flush(true);
        } catch {
          // Its producer is gone; there is nobody to tell.
        }
      }
      if (!this.lanes.some((lane) => lane?.reporting)) return;
      await new Promise<void>((resolve) => this.port.clock.soon(resolve));
    }
  }

  private async closeAll(): Promise<void> {
    await this.reportAll();
    for (const lane of this.lanes) {
      if (lane === undefined) continue;
      lane.fence();
      lane.closeMemory();
    }
    for (const lane of this.ended) lane.closeMemory();
    for (const waiters of this.fenceWaiters.values()) for (const wake of waiters) wake();
    this.lanes.fill(undefined);
    this.lanesByQp.clear();
    const channels = [...this.channels.values()];
    this.channels.clear();
    for (const channel of channels) channel.close();
    this.queue.length = 0;
    for (const taker of this.takers.splice(0)) taker({ done: true, value: undefined });
    try {
      this.pump.close();
      this.closeDevice();
    } finally {
      await this.server?.close();
      this.server = undefined;
    }
  }

  private closeDevice(): void {
    if (this.ownsDevice) this.device.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
