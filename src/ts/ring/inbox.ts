// An inbox: one consumer, any number of producers, a lane for each.
//
// Invariant: nothing that a producer does, or fails to do, reaches beyond its lane. Per producer incarnation the
// application sees messages 1..n in order, each once. A lane is fenced (queue pair destroyed, key revoked) before
// another lane of the same producer begins.
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkString } from '../core/validate.js';
import { parseDocument } from '../connect/index.js';
import { CompletionOpcode, CompletionStatus, completionStatusWords, type PortAddress } from '../verbs/index.js';
import { Admission } from './admission.js';
import { tell } from './callback.js';
import { Offer, Ready } from './documents.js';
import { Lane, type LaneHost, SEND_DEPTH } from './lane.js';
import type { LaneParts } from './lane-memory.js';
import { CONTROL_WR_ID } from './lane-reporter.js';
import { countOfImm, laneOfImm } from './layout.js';
import { checkLimits, type InboxOptions, type Limits } from './inbox-options.js';
import type { InboxMessage } from './message.js';
import type { PortChannel, PortDevice, PortServer, RingPort } from './port.js';
import { PULL_WR_ID, Pulls, type PullSource } from './pulls.js';
import { Pump } from './pump.js';
import { InboxCounters, type InboxStatus } from './status.js';
import { systemPort } from './system-port.js';
import { Turns } from './turns.js';

// As constants of this file: what another file exports is looked up at each use, and through an index by a call.
const { SUCCESS } = CompletionStatus;
const { RECEIVE_WITH_IMM } = CompletionOpcode;

const HANDSHAKE_TIMEOUT_MS = 5000;
/** How long close() waits for producers to learn what was acknowledged. */
const REPORT_MS = 500;
/** Looks after which small news is reported too: some microseconds, in which it would not have been of use. */
const LOOKS_BEFORE_FLUSH = 512;
/** So many of the looks of one poll count for that, or so small a part: who looks often at once waits for something slow. */
const COUNTED_LOOKS = 16;
const COUNTED_SHIFT = 5;
/** Looks at polled lanes for one at the completion queue, which costs more than all of them. */
const LOOKS_PER_CQ = 32;
/** The same for one at the queue in which others get this processor, and how many looks at the queue that takes. */
const LOOKS_PER_YIELD = 1024;
const YIELDING_LOOKS = 33;
const MAX_LOOKS = 2 ** 20;
/** Completions of one poll, and messages delivered before the next one. */
const BATCH = 256;
const SERVICE = 'onepiece-inbox';

/** Made by {@link Inbox.listen}. An async iterable of messages when no `onMessage` is given. */
export class Inbox implements LaneHost, AsyncIterable<InboxMessage>, AsyncDisposable {
  /** Identity of this incarnation, 32 hexadecimal digits. */
  readonly identity: string;
  /** Sums over all lanes since the inbox was opened. */
  readonly counters = new InboxCounters();
  /** @internal */
  readonly address: PortAddress;
  /** @internal */
  readonly maxPullBytes: number;

  private readonly options: InboxOptions;
  private readonly port: RingPort;
  private readonly device: PortDevice;
  private readonly ownsDevice: boolean;
  private readonly pump: Pump;
  private readonly limits: Limits;
  private readonly admission: Admission;
  private readonly turns: Turns;
  private readonly pulls: Pulls;
  private readonly lanesByQp = new Map<number, Lane>();
  private readonly channels = new Map<Lane, PortChannel>();
  private readonly fenceWaiters = new Map<Lane, (() => void)[]>();
  private readonly polledLanes: Lane[] = []; // their descriptors are looked at in each poll
  private unpolled = 0; // looks since the completion queue was looked at,
  private unyielded = 0; // and since others could have this processor
  private readonly touched: Lane[] = [];
  // Two lists that take turns; their arrays are kept, and counted, so that none is made anew.
  private dirty: (Lane | undefined)[] = [];
  private flushing: (Lane | undefined)[] = [];
  private dirtyCount = 0;
  private condemned: Lane[] = [];
  private looks = 0; // since the last flush, with the loop form
  private polling = false;
  private server: PortServer | undefined;
  private draining: Promise<void> | undefined;
  private drained: (() => void) | undefined;
  private closing: Promise<void> | undefined;
  private readonly queue: InboxMessage[] = [];
  private readonly takers: ((result: IteratorResult<InboxMessage>) => void)[] = [];

  private constructor(options: InboxOptions, port: RingPort) {
    this.limits = checkLimits(options);
    this.options = options;
    this.port = port;
    this.identity = port.identity();
    this.maxPullBytes = this.limits.pullBytes;
    this.turns = new Turns(this.limits.lanes);
    this.pulls = new Pulls(port.clock, (bytes) => {
      this.counters.pulls++;
      this.counters.pulledBytes += bytes;
    });
    const { device, owned } = port.device(options.device);
    this.device = device;
    this.ownsDevice = owned;
    try {
      this.address = this.device.portAddress();
      const wanted = this.limits.lanes * (this.limits.slots + SEND_DEPTH);
      const capacity = Math.min(wanted, this.device.attributes.maxCqe);
      this.pump = new Pump(
        this.device,
        port.clock,
        capacity,
        this.limits.wait,
        () => this.drainQueue(this.deliver, 1),
        () => this.flushDirty(true),
      );
      const transport = this.address.type === 'soft' ? 'soft' : 'verbs';
      this.admission = new Admission(this.limits, this.identity, this.device.name, transport, this.pump.cq.capacity);
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

  /** What an operator asks, per lane and in sum. Computed at each call; not for hot loops. */
  status(): InboxStatus {
    const now = this.port.clock.now();
    const lanes = [...this.lanesByQp.values()].map((lane) => lane.status(now));
    const sum = (of: (lane: (typeof lanes)[number]) => number) => lanes.reduce((total, lane) => total + of(lane), 0);
    return {
      draining: this.draining !== undefined,
      lanes,
      endedLanes: this.admission.endedLanes,
      memoryBytes: sum((lane) => lane.memoryBytes),
      heldMessages: sum((lane) => lane.heldMessages),
      heldBytes: sum((lane) => lane.heldBytes),
      waitingMessages: sum((lane) => lane.waitingMessages) + this.queue.length,
      unacknowledgedMessages: sum((lane) => lane.unacknowledgedMessages),
      oldestUnacknowledgedMs: lanes.reduce((most, lane) => Math.max(most, lane.oldestUnacknowledgedMs), 0),
      wakes: this.pump.counters.wakes,
      counters: { ...this.counters },
    };
  }

  // ---- Delivering

  /**
   * The loop form, for `wait: 'busy'`: handles what has arrived. `visit` is called with the lane for each message:
   * `lane.data`, `lane.offset`, `lane.length`, `lane.sequence`; it calls lane.release() and lane.acknowledge() then or
   * later. Allocates nothing. Reports go back when a quarter of a lane is released, and after 512 looks, of which 16 of each
   * poll count, or one in 32.
   *
   * What `visit` throws comes out of here; the message counts as delivered, and the next poll goes on behind it.
   *
   * @param looks 1 to 2^20, default 1: how often to look before answering 0, as in {@link CompletionQueue.poll}: with more than one, whoever waits
   *   for this processor gets it now and then, which soft-RoCE needs where there are few
   * @returns how many completions there were, and messages; 0 when there was nothing to do
   * @throws RdmaError RDMA_ERR_CLOSED; RDMA_ERR_INVALID_ARGUMENT
   */
  poll(visit: (lane: Lane) => void, looks = 1): number {
    if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed');
    checkInteger('looks', looks, 1, MAX_LOOKS);
    this.pump.polled();
    const count = this.drainQueue(visit, looks);
    // Also while messages come: they may be those of other lanes.
    this.looks += Math.max(Math.min(looks, COUNTED_LOOKS), looks >> COUNTED_SHIFT);
    if (this.looks >= LOOKS_BEFORE_FLUSH) {
      this.looks = 0;
      this.flushDirty(true);
    }
    if (this.dirtyCount > 0) this.pump.schedule();
    return count;
  }

  /** The messages, for `for await`; they end when the inbox is closed. @throws RdmaError with `onMessage` */
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
    const message = lane.message();
    if (this.options.onMessage !== undefined) {
      this.options.onMessage(message);
      return;
    }
    const taker = this.takers.shift();
    if (taker !== undefined) taker({ done: false, value: message });
    else this.queue.push(message);
  };

  /** @internal */
  pull(source: PullSource, into: Uint8Array, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.closing !== undefined) return Promise.reject(new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed'));
    return this.pulls.pull(source, into, timeoutMs, signal);
  }

  // ---- Completions

  private drainQueue(visit: (lane: Lane) => void, looks: number): number {
    if (this.polling || this.closing !== undefined) return 0;
    this.polling = true;
    try {
      let count = this.lookAround(looks);
      try {
        const served = this.serve(visit);
        count += served;
        // Lanes that are not polled wait for no more messages of the others than that.
        this.unpolled += Math.floor((served * LOOKS_PER_CQ) / BATCH);
      } finally {
        this.afterServing();
      }
      if (this.condemned.length > 0) count += this.fenceCondemned(visit);
      return count;
    } finally {
      this.polling = false;
    }
  }

  // Looks at the lanes that are polled, and at the completion queue: where there are such lanes not each time, unless one of
  // them waits for a completion.
  private lookAround(looks: number): number {
    if (this.polledLanes.length === 0) return this.pollOnce(this.turns.empty ? looks : 1);
    let count = 0;
    let left = looks;
    do {
      left--;
      const waits = this.lookAtPolled();
      this.unpolled++;
      if (looks > 1) this.unyielded += waits ? LOOKS_PER_CQ : 1;
      if (!waits && this.unpolled < LOOKS_PER_CQ) continue;
      this.unpolled = 0;
      // What waits for its turn is not held up.
      const yields = looks > 1 && this.unyielded >= LOOKS_PER_YIELD && this.turns.empty;
      if (yields) this.unyielded = 0;
      count += this.pollOnce(yields ? YIELDING_LOOKS : 1);
    } while (left > 0 && count === 0 && this.turns.empty);
    return count;
  }

  // Looks at each of the lanes once. Answers whether one of them waits for a completion.
  private lookAtPolled(): boolean {
    const { polledLanes } = this;
    let waits = false;
    for (let i = 0; i < polledLanes.length; i++) {
      const lane = polledLanes[i]!;
      this.lookAt(lane);
      waits ||= lane.waits;
    }
    return waits;
  }

  private lookAt(lane: Lane): void {
    if (lane.waiting > 0 || lane.condemned !== undefined) return;
    if (lane.arrived()) this.turns.announce(lane, 1);
    else if (lane.broken) this.noteCondemned(lane);
  }

  // Handles what has completed; calls nobody.
  private pollOnce(looks: number): number {
    const { cq } = this.pump;
    if (cq.closed) return 0;
    const count = cq.poll(BATCH, looks);
    for (let i = 0; i < count; i++) this.handle(i);
    return count;
  }

  private handle(i: number): void {
    const { completions } = this.pump.cq;
    const lane = this.lanesByQp.get(completions.qpNum(i));
    if (lane === undefined) return; // of a lane that was fenced meanwhile
    const status = completions.status(i);
    const wrId = completions.wrId(i);
    if (wrId >= CONTROL_WR_ID) {
      this.sendCompleted(lane, wrId, status);
      return;
    }
    lane.receiveUsed();
    this.touch(lane);
    if (status !== SUCCESS) {
      this.condemn(lane, this.completionError(lane, status));
      return;
    }
    if (lane.broken) return;
    const imm = completions.imm(i);
    const messages = countOfImm(imm);
    const isRight = completions.opcode(i) === RECEIVE_WITH_IMM && laneOfImm(imm) === lane.id && messages > 0;
    if (!isRight || (lane.polled && !lane.land(messages))) {
      lane.condemn('a completion that no outbox makes');
      this.noteCondemned(lane);
      return;
    }
    lane.heard();
    if (lane.polled) this.lookAt(lane);
    else this.turns.announce(lane, messages);
  }

  private sendCompleted(lane: Lane, wrId: number, status: number): void {
    let failure = status === SUCCESS ? undefined : this.completionError(lane, status);
    if (wrId >= PULL_WR_ID) {
      failure = this.pulls.completed(lane, status);
    } else {
      lane.controlSent();
      if (failure === undefined) {
        this.markDirty(lane);
        // Its producer may wait for what has been released meanwhile.
        this.touch(lane);
      }
    }
    if (failure !== undefined) this.condemn(lane, failure);
  }

  // Gives the lanes that have something their turns.
  private serve(visit: (lane: Lane) => void): number {
    let served = 0;
    for (let lane = this.turns.next(); lane !== undefined && served < BATCH; lane = this.turns.next()) {
      // A visit may have closed the inbox.
      if (this.closing !== undefined) return served;
      served++;
      this.touch(lane);
      this.visitNext(lane, visit);
    }
    return served;
  }

  private visitNext(lane: Lane, visit: (lane: Lane) => void): void {
    if (!lane.take()) {
      this.turns.drop(lane);
      this.noteCondemned(lane);
      return;
    }
    this.turns.charge(lane, lane.isPulled ? 0 : lane.length);
    if (lane.isSkipped) {
      this.counters.skipped++;
      const { sequence } = lane;
      lane.acknowledge(sequence);
      lane.release(sequence);
      return;
    }
    this.counters.messages++;
    this.counters.bytes += lane.length;
    visit(lane);
    if (lane.polled) this.lookAt(lane);
  }

  private touch(lane: Lane): void {
    if (lane.touched) return;
    lane.touched = true;
    this.touched.push(lane);
  }

  private afterServing(): void {
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
    if (!this.turns.empty) this.pump.schedule();
  }

  private completionError(lane: Lane, status: number): RdmaError {
    const why = `lane ${lane.id} of ${lane.session.name}: ${completionStatusWords(status)}`;
    return new RdmaError('RDMA_ERR_PEER_GONE', why);
  }

  /** @internal */
  markDirty(lane: Lane): void {
    if (lane.dirty || lane.fenced) return;
    lane.dirty = true;
    this.dirty[this.dirtyCount++] = lane;
    if (!this.polling) this.pump.schedule();
  }

  /** @internal */
  nowMs(): number {
    return this.pump.nowMs();
  }

  /** @internal */
  clockMs(): number {
    return this.port.clock.now();
  }

  private flushDirty(all: boolean): void {
    const count = this.dirtyCount;
    if (count === 0) return;
    const lanes = this.dirty;
    this.dirty = this.flushing;
    this.flushing = lanes;
    this.dirtyCount = 0;
    for (let i = 0; i < count; i++) {
      const lane = lanes[i]!;
      lanes[i] = undefined;
      lane.dirty = false;
      if (lane.condemned !== undefined) continue;
      try {
        lane.flush(all);
      } catch (error) {
        this.condemn(lane, error as RdmaError);
      }
    }
  }

  // ---- Fencing

  private condemn(lane: Lane, reason: RdmaError): void {
    if (lane.fenced) return;
    lane.condemned ??= reason;
    this.noteCondemned(lane);
    if (!this.polling) this.pump.schedule();
  }

  private noteCondemned(lane: Lane): void {
    if (!lane.fenced && !this.condemned.includes(lane)) this.condemned.push(lane);
  }

  private fenceCondemned(visit: (lane: Lane) => void): number {
    let count = 0;
    // Until all are fenced: what a visit throws must not make anybody forget one.
    for (let lane = this.condemned[0]; lane !== undefined; lane = this.condemned[0]) {
      lane.stop();
      // What has arrived is delivered first; nothing new arrives on this lane.
      count += this.pollAll();
      while (this.hasMore(lane) && this.closing === undefined) {
        count++;
        this.visitNext(lane, visit);
      }
      this.condemned = this.condemned.filter((each) => each !== lane);
      if (!lane.fenced) this.fence(lane);
      // What the queue pair has left behind is taken now, and not for that of a later one with the same number.
      count += this.pollAll();
    }
    return count;
  }

  // Whether a lane that is to be fenced has something that was published. A producer that still stores ends when its credit does.
  private hasMore(lane: Lane): boolean {
    if (lane.waiting === 0 && lane.polled && lane.arrived()) this.turns.announce(lane, 1);
    return lane.waiting > 0;
  }

  // Everything that is in the completion queue now, even while more comes.
  private pollAll(): number {
    let count = 0;
    const most = Math.ceil(this.pump.cq.capacity / BATCH) + 1;
    for (let turn = 0, polled = 1; polled > 0 && turn < most; turn++) {
      polled = this.pollOnce(1);
      count += polled;
    }
    return count;
  }

  private fence(lane: Lane): void {
    const reason = lane.condemned ?? new RdmaError('RDMA_ERR_FENCED', 'the lane was fenced');
    this.turns.drop(lane);
    this.unpoll(lane);
    this.lanesByQp.delete(lane.qp.qpNum);
    const revoked = lane.fence();
    this.pulls.laneEnded(lane);
    this.admission.remove(lane);
    this.counters.fences++;
    const channel = this.channels.get(lane);
    this.channels.delete(lane);
    channel?.destroy(reason);
    for (const wake of this.fenceWaiters.get(lane) ?? []) wake();
    this.fenceWaiters.delete(lane);
    const { name: from, producer } = lane.session;
    tell(this.options.onLane, { type: 'fenced', from, producer, reason });
    if (!revoked) {
      this.counters.quarantined++;
      tell(this.options.onLane, { type: 'quarantined', from, producer, reason });
    }
    if (this.lanesByQp.size === 0) this.drained?.();
  }

  private unpoll(lane: Lane): void {
    const at = this.polledLanes.indexOf(lane);
    if (at >= 0) this.polledLanes.splice(at, 1);
  }

  private fenceAndWait(lane: Lane): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.fenceWaiters.get(lane) ?? [];
      waiters.push(resolve);
      this.fenceWaiters.set(lane, waiters);
      this.condemn(lane, new RdmaError('RDMA_ERR_FENCED', `${lane.session.name} came again`));
    });
  }

  // ---- Lanes

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
        if (lane.fenced) return;
        lane.onReady();
        this.pulls.proceed(lane.session);
      };
      channel.send(lane.answer(this.identity));
      tell(this.options.onLane, { type: 'open', from, producer });
    } catch (error) {
      this.refuse(channel, from, producer, error);
    }
  }

  private refuse(channel: PortChannel, from: string, producer: string, error: unknown): void {
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

  private async openLane(offer: Offer): Promise<Lane> {
    this.checkOpen();
    this.admission.checkTransport(offer);
    // Again after each wait: the producer may have come twice in the meantime.
    for (let old = this.admission.laneOf(offer.producer); old !== undefined; ) {
      if (this.pump.cq.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the device of the inbox is closed');
      await this.fenceAndWait(old);
      old = this.admission.laneOf(offer.producer);
    }
    this.checkOpen();
    const { id, session, shape } = this.admission.admit(offer);
    const lane = new Lane(id, session, this, offer, shape);
    this.lanesByQp.set(lane.qp.qpNum, lane);
    this.admission.add(lane);
    if (lane.polled) this.polledLanes.push(lane);
    this.counters.lanesOpened++;
    return lane;
  }

  private checkOpen(): void {
    if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closing');
    // To be tried again, at this place or another one.
    if (this.draining !== undefined) throw new RdmaError('RDMA_ERR_BUSY', 'the inbox drains and takes no producer');
  }

  /** @internal */
  readonly makeLaneParts = (slots: number, bytes: number, access: number): LaneParts => {
    const pd = this.device.allocateProtectionDomain();
    try {
      const qp = pd.createQueuePair({ sendCq: this.pump.cq, maxSendWr: SEND_DEPTH, maxRecvWr: slots });
      return { pd, qp, memory: pd.registerMemory({ bytes, access }) };
    } catch (error) {
      pd.close();
      throw error;
    }
  };

  // ---- End

  /**
   * Takes no new producer, asks every producer to send nothing more, goes on delivering what was sent, and closes the
   * inbox when all of it is acknowledged and the producers have left. What they still hold goes to whom their `to` finds
   * next. A second call answers the same promise.
   *
   * @param timeoutMs closes then all the same, 1 to 2^31 - 1; default 30 000
   */
  drain(timeoutMs = 30_000): Promise<void> {
    checkInteger('timeoutMs', timeoutMs, 1, 2 ** 31 - 1);
    this.draining ??= this.drainAll(timeoutMs);
    return this.draining;
  }

  private async drainAll(timeoutMs: number): Promise<void> {
    await null; // `draining` is set before anybody is asked
    if (this.closing === undefined && this.lanesByQp.size > 0) {
      await new Promise<void>((resolve) => {
        const takeBack = this.port.clock.after(timeoutMs, resolve);
        this.drained = () => {
          takeBack();
          resolve();
        };
        for (const lane of this.lanesByQp.values()) {
          try {
            lane.drain();
          } catch (error) {
            this.condemn(lane, error as RdmaError);
          }
        }
      });
    }
    await this.close();
  }

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
    const { clock } = this.port;
    const end = clock.now() + REPORT_MS;
    while (!this.pump.cq.closed && clock.now() < end) {
      try {
        this.pollOnce(1);
      } catch {
        return; // the device is going away
      }
      let reporting = false;
      for (const lane of this.lanesByQp.values()) {
        try {
          lane.flush(true);
        } catch {
          // Its producer is gone; there is nobody to tell.
        }
        reporting ||= lane.reporting;
      }
      if (!reporting) return;
      await new Promise<void>((resolve) => clock.soon(resolve));
    }
  }

  private async closeAll(): Promise<void> {
    await this.reportAll();
    for (const lane of [...this.lanesByQp.values()]) {
      lane.fence();
      this.pulls.laneEnded(lane);
      lane.closeMemory();
    }
    this.admission.closeEnded();
    for (const session of this.admission.allSessions()) {
      this.pulls.reject(session, new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed'));
    }
    for (const waiters of this.fenceWaiters.values()) for (const wake of waiters) wake();
    this.lanesByQp.clear();
    this.polledLanes.length = 0;
    const channels = [...this.channels.values()];
    this.channels.clear();
    for (const channel of channels) channel.close();
    this.queue.length = 0;
    for (const taker of this.takers.splice(0)) taker({ done: true, value: undefined });
    this.drained?.();
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

  /** As {@link Inbox.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
