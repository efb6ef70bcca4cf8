// A wait for completions that wastes no core: it spins a little, then arms the completion channel and sleeps.
//
// Invariant: the pump never sleeps between a completion and its handling: it arms, polls once more, and only then
// returns to the event loop. It never holds the event loop for more than its slice.
import type { Clock, PortCompletionQueue, PortDevice } from './port.js';

/**
 * How to wait. `busy`: nothing happens unless the caller polls; `adaptive`: spin for a short time that grows while it
 * pays, then sleep; `event`: sleep at once.
 */
export type WaitMode = 'busy' | 'adaptive' | 'event';
export const WAIT_MODES = ['busy', 'adaptive', 'event'] as const;

const MIN_SPIN_US = 2;
const MAX_SPIN_US = 50;
const SLICE_MS = 1;
/** With `busy` the clock is read once in so many polls. */
const POLLS_PER_CLOCK = 64;

/** What calls an inbox or outbox when its completion queue has something. */
export interface CompletionDriver {
  readonly cq: PortCompletionQueue;
  /** How often the process was woken, and how often there was nothing. */
  readonly counters: { wakes: number; emptyWakes: number };
  /** The time, for the age of a message. */
  nowMs(): number;
  /** Told of each poll. */
  polled(): void;
  /** Runs soon, from the event loop: something was posted or changed outside of a drain. */
  schedule(): void;
  /** Ends it and closes the queue. Queue pairs that use the queue are closed with it. */
  close(): void;
}

/** Drives `drain` whenever the completion queue has something. */
export class Pump implements CompletionDriver {
  readonly cq: PortCompletionQueue;
  /** How often the process was woken, and how often there was nothing. */
  readonly counters = { wakes: 0, emptyWakes: 0 };
  private readonly channel: { close(): void } | undefined;
  private readonly clock: Clock;
  private readonly drain: () => number;
  private readonly beforeSleep: () => void;
  private readonly mode: WaitMode;
  private spinUs = MIN_SPIN_US;
  private scheduled = false;
  private running = false;
  private stopped = false;
  private polls = 0;
  private lastMs: number;

  /**
   * @param drain handles completions; answers how many there were
   * @param beforeSleep called before the pump sleeps or lets others run: the moment to send what was held back
   */
  constructor(
    device: PortDevice,
    clock: Clock,
    capacity: number,
    mode: WaitMode,
    drain: () => number,
    beforeSleep: () => void,
  ) {
    this.clock = clock;
    this.mode = mode;
    this.lastMs = clock.now();
    this.drain = drain;
    this.beforeSleep = beforeSleep;
    if (mode !== 'busy') {
      this.channel = device.createCompletionChannel(() => {
        this.counters.wakes++;
        this.run();
      });
    }
    try {
      this.cq = device.createCompletionQueue(capacity, this.channel);
    } catch (error) {
      this.channel?.close();
      throw error;
    }
    if (mode !== 'busy') this.cq.requestNotify();
  }

  /**
   * The time, for the age of a message. With `busy` as of one of the last polls, as reading the clock costs as much.
   */
  nowMs(): number {
    return this.mode === 'busy' ? this.lastMs : this.clock.now();
  }

  /** Told of each poll. */
  polled(): void {
    if (this.mode !== 'busy' || ++this.polls < POLLS_PER_CLOCK) return;
    this.polls = 0;
    this.lastMs = this.clock.now();
  }

  /** Runs soon, from the event loop: something was posted or changed outside of a drain. */
  schedule(): void {
    if (this.mode === 'busy' || this.scheduled || this.stopped) return;
    this.scheduled = true;
    this.clock.soon(this.runScheduled);
  }

  private readonly runScheduled = (): void => {
    this.scheduled = false;
    this.run();
  };

  private run(): void {
    if (this.running || this.stopped || this.cq.closed) return;
    this.running = true;
    let returned = false;
    try {
      this.work();
      returned = true;
    } finally {
      this.running = false;
      // The caller's handler threw: the rest is handled in the next turn, and the error propagates.
      if (!returned) this.schedule();
    }
  }

  private work(): void {
    const sliceEnd = this.clock.now() + SLICE_MS;
    let any = false;
    for (;;) {
      if (this.stopped || this.cq.closed) return;
      const count = this.drain();
      if (count > 0) {
        any = true;
        if (this.clock.now() > sliceEnd) {
          // Also when there is always more: what was held back waits for no pause of somebody else.
          this.beforeSleep();
          this.schedule();
          return;
        }
        continue;
      }
      this.beforeSleep();
      if (this.stopped || this.cq.closed) return;
      if (any && this.spun()) continue;
      this.cq.requestNotify();
      // A completion that came before the arming raises no event: look once more.
      if (this.drain() === 0) break;
      any = true;
      if (this.clock.now() > sliceEnd) {
        this.beforeSleep();
        this.schedule();
        return;
      }
    }
    if (!any) this.counters.emptyWakes++;
  }

  /** Spins for the present spin time; true when completions were handled. */
  private spun(): boolean {
    if (this.mode !== 'adaptive') return false;
    const end = this.clock.now() + this.spinUs / 1000;
    do {
      if (this.stopped || this.cq.closed) return false;
      if (this.drain() > 0) {
        this.spinUs = Math.min(MAX_SPIN_US, this.spinUs * 2);
        return true;
      }
    } while (this.clock.now() < end);
    this.spinUs = Math.max(MIN_SPIN_US, this.spinUs / 2);
    return false;
  }

  /** Ends the pump and closes its queue and channel. Queue pairs that use the queue are closed with it. */
  close(): void {
    this.stopped = true;
    this.cq.close();
    this.channel?.close();
  }
}
