// One loop for all inboxes and outboxes of a process, and for other sources: it polls all of them for a short while,
// then sleeps.
//
// Invariant: it never sleeps between a completion and its handling: it arms all queues, polls all of them once more,
// and only then returns to the event loop. After a round that found something, all waiting microtasks run before the
// next round. It holds the event loop for at most a slice, and while it finds nothing it yields the processor.
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject, invalidArgument } from '../core/validate.js';
import { AdaptiveWindow } from './adaptive-window.js';
import { type MemberParts, PollerMember } from './poller-member.js';
import type { Clock, PortCompletionQueue, PortDevice } from './port.js';
import type { CompletionDriver, WaitMode } from './pump.js';
import { systemPort } from './system-port.js';

const MAX_POLL_US = 10_000;
const DEFAULT_POLL_US = 50;
/** The event loop gets its turn after so long. */
const SLICE_MS = 1;
/** Looks at inboxes for one at outboxes, which bring only credits and acknowledgements. */
const LOOKS_PER_OUTBOX_LOOK = 4;
/** Looks that find nothing before small reports are sent: soon enough for others, late enough to carry several. */
const LOOKS_BEFORE_FLUSH = 64;
/** Looks that go one for each microtask, so that chains of promises run between them; later ones go several at once. */
const SINGLE_LOOKS = 16;
const LOOKS_PER_MICROTASK = 8;
/**
 * After so many looks others get this processor; and how many looks at one queue that takes, see CompletionQueue.poll.
 */
const LOOKS_PER_YIELD = 4;
const YIELDING_LOOKS = 33;

// Continuing it makes a microtask, as queueMicrotask() does, which costs Node.js ten times as much: it keeps an async
// context.
const READY = Promise.resolve();

/** How a poller is made. */
export interface PollerOptions {
  /**
   * The most time in microseconds that it polls after it has found something, 0 to 10 000; default 50. 0: it never
   * polls.
   */
  pollUs?: number;
  /** The clock of the port that its members use; default the system's. */
  clock?: Clock;
}

/** Answered by {@link Poller.status}. Sums since the poller was made. */
export interface PollerStatus {
  /** Inboxes and outboxes that it drives. */
  inboxes: number;
  outboxes: number;
  /** How often a completion channel woke it, and how often there was nothing then. */
  wakes: number;
  emptyWakes: number;
  /** How often it polled, and how often it found something by that. */
  polls: number;
  hits: number;
  /** Time in microseconds that it has polled. */
  polledUs: number;
  /** How often it went to sleep. */
  sleeps: number;
}

/** Answered by {@link Poller.attach}: something else than a ring that the loop looks at. */
export interface PollerSource {
  /** Its own doorbell has rung: the loop looks at everything, also at this. */
  wake(): void;
  /** It is not looked at any more. */
  leave(): void;
}

interface Source {
  readonly drain: () => number;
  readonly onPolls: (polls: boolean) => void;
}

const NOBODY = () => {};

/** One channel for all queues of a device. */
interface SharedChannel {
  channel: { close(): void };
  users: number;
}

/**
 * The `poller` of {@link Inbox.listen} and {@link Outbox.connect}. It ends with its last member; there is nothing to
 * close.
 */
export class Poller {
  private readonly clock: Clock;
  private readonly window: AdaptiveWindow;
  private readonly channels = new Map<PortDevice, SharedChannel>();
  private inboxes: readonly PollerMember[] = []; // replaced, never changed: a member may leave while all are looked at
  private outboxes: readonly PollerMember[] = [];
  private sources: readonly Source[] = [];
  /** @internal */
  readonly counters = { wakes: 0, emptyWakes: 0, polls: 0, hits: 0, polledUs: 0, sleeps: 0 };
  private looking = false;
  private turnDue = false; // the event loop will call turn()
  private lookDue = false; // a microtask will call look()
  private sliceEndMs = 0;
  private sinceMs = 0; // since when it waits for something
  private polling = false;
  private pollBeganMs = 0;
  private empty = 0; // looks in a row that found nothing
  private sinceOutboxes = 0; // looks since the outboxes were looked at
  private unflushed = false; // something was handled since reports were sent
  private eager = false; // something was found since it slept: it polls before it sleeps again
  private expecting = false; // a member, or a caller that sent something, called expect(): look, and poll again
  private woken = false; // a channel has called, and nothing was found since
  private lingerUntilMs = Number.NEGATIVE_INFINITY;

  /** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
  constructor(options: PollerOptions = {}) {
    checkObject('options', options);
    const pollUs = checkInteger('pollUs', options.pollUs ?? DEFAULT_POLL_US, 0, MAX_POLL_US);
    this.window = new AdaptiveWindow(pollUs);
    this.clock = options.clock ?? systemPort.clock;
  }

  /** What an operator asks. */
  status(): PollerStatus {
    return { inboxes: this.inboxes.length, outboxes: this.outboxes.length, ...this.counters };
  }

  /**
   * Looks at all members when the event loop comes round, and polls if that has paid lately: for whoever has just sent
   * something and expects an answer soon.
   */
  expect(): void {
    this.expecting = true;
    if (this.lookDue || this.turnDue || this.looking) return;
    this.turnDue = true;
    this.clock.soon(this.turn);
  }

  /**
   * Polls for at least so long from now on, whatever has paid lately: for whoever knows that something is coming soon.
   * A poller that never polls does not.
   *
   * @param us microseconds, 0 to 10 000
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  linger(us: number): void {
    checkInteger('us', us, 0, MAX_POLL_US);
    if (this.window.limitUs === 0) return;
    this.lingerUntilMs = this.clock.now() + us / 1000;
    this.expect();
  }

  /**
   * Has the loop look at something else too, so that polling finds it as it finds messages. Whoever fills it rings a
   * doorbell, unless it knows that this loop polls: the loop looks once more between the end of that and its sleep.
   *
   * @param drain handles what is there, and answers how much that was; it does not throw
   * @param onPolls told when the loop begins to poll, and before it looks for the last time; it does not throw. Default
   *   nobody: then the doorbell is rung each time
   */
  attach(drain: () => number, onPolls: (polls: boolean) => void = NOBODY): PollerSource {
    const source = { drain, onPolls };
    this.sources = [...this.sources, source];
    return {
      wake: this.wake,
      leave: () => {
        this.sources = this.sources.filter((each) => each !== source);
      },
    };
  }

  /** @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for another clock; what the device throws */
  join(parts: MemberParts): CompletionDriver {
    if (parts.clock !== this.clock) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'the poller has another clock than the port of its member');
    }
    const member = new PollerMember(this, parts, this.openQueue(parts));
    if (parts.kind === 'inbox') this.inboxes = [...this.inboxes, member];
    else this.outboxes = [...this.outboxes, member];
    return member;
  }

  private openQueue({ device, capacity }: MemberParts): PortCompletionQueue {
    const shared = this.channels.get(device) ?? { channel: device.createCompletionChannel(this.wake), users: 0 };
    this.channels.set(device, shared);
    shared.users++;
    try {
      const cq = device.createCompletionQueue(capacity, shared.channel);
      cq.requestNotify();
      return cq;
    } catch (error) {
      this.leaveChannel(device);
      throw error;
    }
  }

  private leaveChannel(device: PortDevice): void {
    const shared = this.channels.get(device);
    if (shared === undefined || --shared.users > 0) return;
    this.channels.delete(device);
    shared.channel.close();
  }

  /** @internal */
  leave(member: PollerMember, device: PortDevice): void {
    const others = (each: PollerMember) => each !== member;
    this.inboxes = this.inboxes.filter(others);
    this.outboxes = this.outboxes.filter(others);
    this.leaveChannel(device);
  }

  /** @internal The time, as the members see it. */
  nowMs(): number {
    return this.clock.now();
  }

  // ---- The loop: channels and the event loop call in, and microtasks go from look to look

  private readonly wake = (): void => {
    this.counters.wakes++;
    // Another channel of the same turn has begun a loop that looks at all queues.
    if (this.lookDue) return;
    this.woken = true;
    this.enter();
  };

  private readonly turn = (): void => {
    this.turnDue = false;
    if (!this.lookDue) this.enter();
  };

  private readonly look = (): void => {
    this.lookDue = false;
    this.step();
  };

  private enter(): void {
    this.sliceEndMs = this.clock.now() + SLICE_MS;
    this.sinceOutboxes = LOOKS_PER_OUTBOX_LOOK;
    this.step();
  }

  private step(): void {
    if (this.looking) return;
    this.looking = true;
    let returned = false;
    try {
      this.lookAround();
      returned = true;
    } finally {
      this.looking = false;
      // A handler threw: the rest is handled in the next turn, and the error propagates.
      if (!returned) this.expect();
    }
  }

  private lookAround(): void {
    const looks = this.empty < SINGLE_LOOKS ? 1 : LOOKS_PER_MICROTASK;
    for (let i = 0; i < looks; i++) {
      const found = this.givesWay ? this.lookAndGiveWay() : this.lookAtAll(1);
      if (found) {
        this.found();
        return;
      }
      this.empty++;
    }
    if (this.unflushed && this.empty >= LOOKS_BEFORE_FLUSH) this.flush();
    this.poll();
  }

  private get givesWay(): boolean {
    return this.empty > 0 && this.empty % LOOKS_PER_YIELD === 0 && !this.window.isCrowded(this.sinceMs);
  }

  // Looks, and lets others have this processor.
  private lookAndGiveWay(): boolean {
    const before = this.clock.now();
    if (this.lookAtAll(YIELDING_LOOKS)) return true;
    const now = this.clock.now();
    this.window.gaveWay(now, now - before);
    return false;
  }

  // Looks at the inboxes, and now and then at the outboxes. Answers whether there was something.
  private lookAtAll(looksAtFirst: number): boolean {
    const { inboxes, sources } = this;
    let looks = looksAtFirst;
    let count = 0;
    for (let i = 0; i < sources.length; i++) count += sources[i]!.drain();
    for (let i = 0; i < inboxes.length; i++) {
      count += inboxes[i]!.drain(looks);
      looks = 1;
    }
    if (++this.sinceOutboxes < LOOKS_PER_OUTBOX_LOOK && inboxes.length > 0) return count > 0;
    this.sinceOutboxes = 0;
    const { outboxes } = this;
    for (let i = 0; i < outboxes.length; i++) {
      count += outboxes[i]!.drain(looks);
      looks = 1;
    }
    return count > 0;
  }

  private found(): void {
    const now = this.clock.now();
    if (this.polling) {
      this.counters.hits++;
      this.window.hit(now);
      this.endPolling(now);
    } else if (this.woken) {
      this.window.woken(now, (now - this.sinceMs) * 1000);
    }
    this.woken = false;
    this.eager = true;
    this.unflushed = true;
    this.empty = 0;
    this.sinceMs = now;
    this.proceed(now);
  }

  // Nothing is there. Polls as long as it may, then sleeps.
  private poll(): void {
    const now = this.clock.now();
    if (this.expecting) {
      this.expecting = false;
      this.eager = true;
      this.sinceMs = now;
    }
    const lingers = now < this.lingerUntilMs;
    // Woken for nothing: there is nothing to wait for.
    if (!lingers && (!this.eager || this.window.us === 0)) {
      this.sleep(now);
      return;
    }
    if (!this.polling) {
      this.polling = true;
      this.pollBeganMs = now;
      this.counters.polls++;
      for (let i = 0; i < this.sources.length; i++) this.sources[i]!.onPolls(true);
    }
    if (lingers || now - this.sinceMs < this.window.us / 1000) {
      this.proceed(now);
      return;
    }
    // What somebody else has asked for says nothing about what pays.
    if (this.sinceMs > this.lingerUntilMs) this.window.miss();
    this.endPolling(now);
    this.sleep(now);
  }

  private endPolling(now: number): void {
    this.polling = false;
    this.counters.polledUs += (now - this.pollBeganMs) * 1000;
  }

  // The next look comes after the microtasks that wait now; or after a turn of the event loop, when it is time for
  // that.
  private proceed(now: number): void {
    if (now < this.sliceEndMs) {
      this.lookDue = true;
      void READY.then(this.look);
      return;
    }
    this.flush();
    if (this.turnDue) return;
    this.turnDue = true;
    this.clock.soon(this.turn);
  }

  private flush(): void {
    this.unflushed = false;
    for (const inbox of this.inboxes) inbox.beforeSleep();
    for (const outbox of this.outboxes) outbox.beforeSleep();
  }

  private sleep(now: number): void {
    this.flush();
    for (const inbox of this.inboxes) inbox.arm();
    for (const outbox of this.outboxes) outbox.arm();
    for (let i = 0; i < this.sources.length; i++) this.sources[i]!.onPolls(false);
    // A completion that came before the arming raises no event: looks once more.
    this.sinceOutboxes = LOOKS_PER_OUTBOX_LOOK;
    if (this.lookAtAll(1)) {
      this.found();
      return;
    }
    this.empty = 0;
    // What could not be sent just now has to be seen to.
    if (this.expecting) {
      this.proceed(now);
      return;
    }
    this.eager = false;
    this.counters.sleeps++;
    if (this.woken) this.counters.emptyWakes++;
    this.woken = false;
  }
}

/** The option `poller` beside the option `wait`. @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkPoller(poller: unknown, wait: WaitMode | undefined): Poller | undefined {
  if (poller === undefined) return undefined;
  if (!(poller instanceof Poller)) throw invalidArgument('poller', poller, 'a Poller');
  if (wait === undefined || wait === 'adaptive') return poller;
  throw invalidArgument('wait', wait, "'adaptive', or left out, with a poller");
}
