// An inbox: one consumer, any number of producers, a lane for each.
//
// Invariant: nothing that a producer does, or fails to do, affects more than its lane. For each producer incarnation
// the application sees messages 1..n in order, each once. A lane is fenced (queue pair destroyed, key revoked) before
// another lane of the same producer begins.
import { RdmaError } from '../core/errors.js';
import { hideSecret } from '../core/secret.js';
import { checkInteger, checkString, invalidArgument } from '../core/validate.js';
import type { PortAddress } from '../verbs/index.js';
import { Acceptor } from './acceptor.js';
import { Admission } from './admission.js';
import { Arrivals } from './arrivals.js';
import { CondemnedLanes } from './condemned-lanes.js';
import { Delivery } from './delivery.js';
import { Fencing } from './fencing.js';
import { checkLimits, type InboxOptions, type Limits } from './inbox-options.js';
import type { Lane } from './lane.js';
import { LaneCompletions } from './lane-completions.js';
import { laneParts, type MakeLaneParts, SEND_DEPTH } from './lane-memory.js';
import { Next } from './lane-reader.js';
import { LaneNews } from './lane-news.js';
import type { InboxMessage } from './message.js';
import { MessageQueue } from './message-queue.js';
import { PolledLanes } from './polled-lanes.js';
import type { PortChannel, PortDevice, PortServer, RingPort } from './port.js';
import { Pulls, type PullSource } from './pulls.js';
import { type CompletionDriver, Pump } from './pump.js';
import { RemoteMemory } from './remote-memory.js';
import { SelfDrive } from './self-drive.js';
import { bootstrapStatus, countPulled, InboxCounters, type InboxStatus } from './status.js';
import { Strangers } from './strangers.js';
import { systemPort } from './system-port.js';
import { LaneScheduler } from './lane-scheduler.js';

/** How long close() waits for producers to learn what was acknowledged. */
const REPORT_MS = 500;
/** Looks after which small news is reported too: some microseconds, in which it would not have been of use. */
const LOOKS_BEFORE_FLUSH = 512;
/** And after which time, for who looks seldom; as of the last time that the pump has looked at the clock. */
const FLUSH_MS = 0.1;
/** One that Arrivals.lookAtOne() has made alone takes a fraction of the time: so many count for one. */
const QUICK_LOOKS = 2;
/**
 * So many of the looks of one poll count for that, or so small a part: a caller that looks often at once waits for
 * something slow.
 */
const COUNTED_LOOKS = 16;
const COUNTED_SHIFT = 5;
const MAX_LOOKS = 2 ** 20;
// As constants of this file: what another file exports is looked up at each use.
const { NOTHING, OTHER } = Next;
const SERVICE = 'onepiece-inbox';

/** Made by {@link Inbox.listen}. An async iterable of messages when no `onMessage` is given. */
export class Inbox implements AsyncIterable<InboxMessage>, AsyncDisposable {
  /** Identity of this incarnation, 32 hexadecimal digits. */
  readonly identity: string;
  /** Sums over all lanes since the inbox was opened. */
  readonly counters = new InboxCounters();
  /** @internal */
  readonly address: PortAddress;
  /** @internal */
  readonly maxPullBytes: number;
  /** @internal */
  readonly remote: RemoteMemory;

  private readonly options: Omit<InboxOptions, 'secret'>;
  private readonly port: RingPort;
  private readonly device: PortDevice;
  private readonly ownsDevice: boolean;
  private readonly pump: CompletionDriver;
  private readonly limits: Limits;
  private readonly admission: Admission;
  private readonly scheduler: LaneScheduler;
  private readonly pulls: Pulls;
  private readonly lanesByQp = new Map<number, Lane>();
  private readonly condemned: CondemnedLanes;
  private readonly news: LaneNews;
  private readonly completions: LaneCompletions;
  private readonly polled: PolledLanes;
  private readonly arrivals: Arrivals;
  private readonly delivery: Delivery;
  private readonly fencing: Fencing;
  private readonly acceptor: Acceptor;
  private readonly queue = new MessageQueue(() => this.drive?.start());
  private readonly drive: SelfDrive | undefined; // with `busy`, for those who await something
  private visitor: ((lane: Lane) => void) | undefined; // of the last poll()
  private readonly strangers: Strangers;
  private looks = 0; // since the last flush, with the loop form, in quick ones
  private flushedMs: number; // when that was
  private polling = false;
  private server: PortServer | undefined;
  private draining: Promise<void> | undefined;
  private drained: (() => void) | undefined;
  private closing: Promise<void> | undefined;
  /** @internal */
  readonly makeLaneParts: MakeLaneParts;

  private constructor(options: InboxOptions, port: RingPort) {
    this.limits = checkLimits(options);
    this.options = hideSecret(options);
    this.port = port;
    this.flushedMs = port.clock.now();
    this.identity = port.identity();
    this.maxPullBytes = this.limits.pullBytes;
    this.scheduler = new LaneScheduler(this.limits.lanes);
    this.pulls = new Pulls(
      port.clock,
      ({ what, length }) => countPulled(this.counters, what, length),
      () => this.drive?.start(),
    );
    const { device, owned } = port.device(options.device);
    this.device = device;
    this.ownsDevice = owned;
    this.remote = new RemoteMemory(device, port.clock);
    try {
      this.address = this.device.portAddress();
      const wanted = this.limits.lanes * (this.limits.slots + SEND_DEPTH);
      const capacity = Math.min(wanted, this.device.attributes.maxCqe);
      const drain = (looks: number) => this.drainQueue(this.deliver, looks);
      const beforeSleep = () => this.news.flush(true);
      const { wait, poller } = this.limits;
      const parts = { kind: 'inbox', device, clock: port.clock, capacity, drain, beforeSleep } as const;
      this.pump = poller?.join(parts) ?? new Pump(device, port.clock, capacity, wait, () => drain(1), beforeSleep);
      const { cq } = this.pump;
      this.makeLaneParts = laneParts(this.device, cq);
      const transport = this.address.type === 'soft' ? 'soft' : 'verbs';
      this.admission = new Admission(this.limits, this.identity, this.device.name, transport, cq.capacity);
    } catch (error) {
      this.closeDevice();
      throw error;
    }
    const { lanesByQp, scheduler, pulls, remote, admission, counters } = this;
    const { cq } = this.pump;
    const { onLane } = options;
    const channels = new Map<Lane, PortChannel>();
    const schedule = () => {
      // At the end of a poll everything is looked after.
      if (!this.polling) this.pump.schedule();
    };
    const condemned = new CondemnedLanes(schedule);
    const news = new LaneNews(condemned, schedule);
    const polled = new PolledLanes(scheduler, condemned);
    const completions = new LaneCompletions({ cq, lanesByQp, polled, scheduler, news, condemned, pulls });
    const delivery = new Delivery(scheduler, polled, news, condemned, counters);
    const ofLanes = { lanesByQp, channels, condemned, polled, pulls, admission, counters, onLane };
    const onEmpty = () => this.drained?.();
    const fencing = new Fencing({ ...ofLanes, delivery, completions, scheduler, remote, onEmpty });
    this.acceptor = new Acceptor({
      ...ofLanes,
      identity: this.identity,
      host: this,
      fencing,
      checkOpen: () => this.checkOpen(),
      isOver: () => cq.closed,
    });
    if (this.limits.wait === 'busy') {
      this.drive = new SelfDrive(port.clock, { isAwaited: () => this.isAwaited, poll: () => this.driveOnce() });
    }
    this.strangers = new Strangers(port.clock, counters, onLane);
    this.condemned = condemned;
    this.news = news;
    this.completions = completions;
    this.polled = polled;
    this.arrivals = new Arrivals(polled, completions, scheduler);
    this.delivery = delivery;
    this.fencing = fencing;
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
        onPeer: (channel) => void inbox.acceptor.accept(channel),
        onRejected: inbox.strangers.rejected,
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
      bootstrap: bootstrapStatus(this.server),
      lanes,
      endedLanes: this.admission.endedLanes,
      memoryBytes: sum((lane) => lane.memoryBytes),
      heldMessages: sum((lane) => lane.heldMessages),
      heldBytes: sum((lane) => lane.heldBytes),
      waitingMessages: sum((lane) => lane.waitingMessages) + this.queue.length,
      unacknowledgedMessages: sum((lane) => lane.unacknowledgedMessages),
      oldestUnacknowledgedMs: lanes.reduce((most, lane) => Math.max(most, lane.oldestUnacknowledgedMs), 0),
      mappedBytes: this.remote.mappedBytes,
      wakes: this.pump.counters.wakes,
      counters: { ...this.counters },
    };
  }

  // ---- Delivering

  /**
   * The loop form, for `wait: 'busy'`: handles what has arrived. `visit` is called with the lane for each message:
   * `lane.data`, `lane.offset`, `lane.length`, `lane.sequence`; it calls `lane.release(sequence)` and
   * `lane.acknowledge(sequence)` then or later. Allocates nothing. Reports go back when a quarter of a lane is released
   * (half of one that alone is polled), and after 512 looks, of which 16 of each poll count, or one in 32; of a lane
   * that alone is polled two count as one; or after 0.1 ms.
   *
   * What `visit` throws comes out of here; the message counts as delivered, and the next poll goes on behind it.
   *
   * ```js
   * // loop.mjs
   * import { setImmediate as turn } from 'node:timers/promises';
   * import { Inbox, Outbox } from 'onepiece-rdma/ring';
   *
   * const secret = 'only the two of us';
   * const inbox = await Inbox.listen({ secret, wait: 'busy' });
   * const outbox = await Outbox.connect({ to: inbox.bootstrap, secret, wait: 'busy', slots: 16 });
   * let sum = 0;
   * let count = 0;
   * const visit = (lane) => {
   *   sum += lane.data[lane.offset];
   *   count++;
   *   lane.release(lane.sequence); // the space may be used again
   *   lane.acknowledge(lane.sequence); // the producer may forget the message
   * };
   * let place;
   * for (let sent = 0; count < 1000; inbox.poll(visit), outbox.poll()) {
   *   const next = sent < 1000 ? outbox.tryReserve(1, place) : undefined;
   *   if (next !== undefined) {
   *     next.data[next.offset] = 7;
   *     next.commit(1);
   *     place = next;
   *     sent++;
   *   }
   *   if (sent % 100 === 0) await turn(); // timers and sockets get their turn
   * }
   * console.log(count, sum);
   * await outbox.close();
   * await inbox.close();
   * // prints: 1000 7000
   * ```
   *
   * @param visit may be left out with `onMessage`, which gets the messages then
   * @param looks 1 to 2^20, default 1: how often to look before answering 0, as in {@link CompletionQueue.poll}: with
   *   more than one, whoever waits for this processor gets it now and then, which soft-RoCE needs where there are few
   * @returns how many completions there were, and messages; 0 when there was nothing to do
   * @throws RdmaError RDMA_ERR_CLOSED; RDMA_ERR_INVALID_ARGUMENT
   */
  poll(visit: ((lane: Lane) => void) | undefined = this.options.onMessage && this.deliver, looks = 1): number {
    if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed');
    if (typeof visit !== 'function') throw invalidArgument('visit', visit, 'a function');
    checkInteger('looks', looks, 1, MAX_LOOKS);
    this.visitor = visit;
    this.pump.polled();
    const count = looks === 1 ? this.lookOnce(visit) : this.drainQueue(visit, looks);
    // Also while messages come: they may be those of other lanes.
    if (looks > 1) this.looks += QUICK_LOOKS * Math.max(Math.min(looks, COUNTED_LOOKS), looks >> COUNTED_SHIFT);
    const nowMs = this.pump.nowMs();
    if (this.looks >= QUICK_LOOKS * LOOKS_BEFORE_FLUSH || nowMs - this.flushedMs >= FLUSH_MS) {
      this.looks = 0;
      this.flushedMs = nowMs;
      this.news.flush(true);
    }
    if (this.news.any) this.pump.schedule();
    return count;
  }

  /** The messages, for `for await`; they end when the inbox is closed. @throws RdmaError with `onMessage` */
  [Symbol.asyncIterator](): AsyncIterator<InboxMessage> {
    if (this.options.onMessage !== undefined) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'an inbox with onMessage is not iterable');
    }
    return this.queue.iterate();
  }

  private readonly deliver = (lane: Lane): void => {
    const message = lane.message();
    if (this.options.onMessage !== undefined) {
      this.options.onMessage(message);
      return;
    }
    this.queue.put(message);
  };

  /** @internal */
  pull(source: PullSource, into: Uint8Array, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.closing !== undefined) return Promise.reject(new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed'));
    return this.pulls.pull(source, into, timeoutMs, signal);
  }

  // As drainQueue() with one look. Where one lane is polled, and short messages come, it takes no turns.
  private lookOnce(visit: (lane: Lane) => void): number {
    const next = this.polling || this.fencing.isDue ? OTHER : this.arrivals.lookAtOne();
    if (next === NOTHING) {
      this.looks++;
      return 0;
    }
    if (next === OTHER) {
      this.looks += QUICK_LOOKS;
      return this.drainQueue(visit, 1);
    }
    const lane = this.polled.alone!;
    this.polling = true;
    let count: number;
    try {
      count = this.delivery.serveShort(lane, visit);
      this.arrivals.delivered(count);
    } finally {
      this.polling = false;
    }
    // While messages come, their producer hears of them when it needs to; when none come, some looks later.
    this.looks = this.news.onlyOf(lane) ? 0 : this.looks + QUICK_LOOKS;
    return this.fencing.isDue ? count + this.drainQueue(visit, 1) : count;
  }

  // Looks, delivers and fences, once.
  private drainQueue(visit: (lane: Lane) => void, looks: number): number {
    if (this.polling || this.closing !== undefined) return 0;
    this.polling = true;
    try {
      let count = this.arrivals.look(looks);
      try {
        const served = this.delivery.serve(visit);
        count += served;
        this.arrivals.delivered(served);
      } finally {
        this.news.settleTouched();
        if (!this.scheduler.empty) this.pump.schedule();
      }
      if (this.fencing.isDue) count += this.fencing.fenceCondemned(visit);
      return count;
    } finally {
      this.polling = false;
    }
  }

  // With `busy`: whether somebody awaits a message, a READ, or the end of drain().
  private get isAwaited(): boolean {
    if (this.closing !== undefined) return false;
    return this.queue.isAwaited || this.pulls.isReading || (this.draining !== undefined && this.lanesByQp.size > 0);
  }

  // A consumer that only pulls gets no message that it did not poll for.
  private driveOnce(): number {
    if (this.queue.isAwaited || this.draining !== undefined) {
      const visit = this.queue.isAwaited ? this.deliver : (this.visitor ?? this.deliver);
      const count = this.drainQueue(visit, 1);
      this.news.flush(true);
      return count;
    }
    if (this.polling) return 0;
    this.polling = true;
    try {
      return this.completions.poll(1);
    } finally {
      this.polling = false;
    }
  }

  // ---- For its lanes

  /** @internal */
  markDirty(lane: Lane): void {
    this.news.add(lane);
  }

  /** @internal */
  nowMs(): number {
    return this.pump.nowMs();
  }

  /** @internal */
  clockMs(): number {
    return this.port.clock.now();
  }

  private checkOpen(): void {
    if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closing');
    // To be tried again, at this place or another one.
    if (this.draining !== undefined) throw new RdmaError('RDMA_ERR_BUSY', 'the inbox drains and takes no producer');
  }

  // ---- End

  /**
   * Takes no new producer, asks every producer to send nothing more, goes on delivering what was sent, and closes the
   * inbox when all of it is acknowledged and the producers have left. What they still hold goes to whom their `to`
   * finds next. A second call answers the same promise.
   *
   * @param timeoutMs after it, drain() closes anyway, 1 to 2^31 - 1; default 30 000
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
        const cancelTimer = this.port.clock.after(timeoutMs, resolve);
        this.drained = () => {
          cancelTimer();
          resolve();
        };
        this.drive?.start();
        for (const lane of this.lanesByQp.values()) {
          try {
            lane.drain();
          } catch (error) {
            this.condemned.condemn(lane, error as RdmaError);
          }
        }
      });
    }
    await this.close();
  }

  /**
   * Tells producers what was acknowledged, ends every lane and closes what the inbox owns. No message is delivered any
   * more; views of messages have length 0 when it has ended; what was not acknowledged stays with its producer. A
   * second call answers the same promise.
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
        this.completions.poll(1);
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
    this.delivery.stop();
    this.queue.end();
    await this.reportAll();
    this.fencing.fenceAll();
    this.admission.closeEnded();
    for (const progress of this.admission.allProgress()) {
      this.pulls.reject(progress, new RdmaError('RDMA_ERR_CLOSED', 'the inbox is closed'));
    }
    this.queue.clear();
    this.drained?.();
    try {
      this.remote.close();
      this.pump.close();
      this.closeDevice();
    } finally {
      await this.server?.close();
      this.server = undefined;
      this.strangers.close();
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
