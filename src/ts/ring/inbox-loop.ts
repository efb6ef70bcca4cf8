// The loop of an inbox: each poll looks for messages, delivers them, fences lanes that are condemned, and reports to
// producers.
//
// Invariant: a poll never runs inside another one, and nothing is delivered after close(). News that a poll leaves
// behind is reported by a later one, in bounded time.
import { checkInteger, invalidArgument } from '../core/validate.js';
import type { Arrivals } from './arrivals.js';
import type { Delivery } from './delivery.js';
import type { Fencing } from './fencing.js';
import type { InboxEnd } from './inbox-end.js';
import type { InboxOptions } from './inbox-options.js';
import type { Lane } from './lane.js';
import type { LaneCompletions } from './lane-completions.js';
import type { LaneNews } from './lane-news.js';
import { Next } from './lane-reader.js';
import type { LaneScheduler } from './lane-scheduler.js';
import type { MessageQueue } from './message-queue.js';
import type { PolledLanes } from './polled-lanes.js';
import type { CompletionDriver } from './pump.js';

/** Looks after which small news is reported too: some microseconds, in which it would not have been of use. */
const LOOKS_BEFORE_FLUSH = 512;
/** The same for a caller that looks seldom: after this time, by the clock as the pump read it last. */
const FLUSH_MS = 0.1;
/** One that Arrivals.lookAtOne() has made alone takes a fraction of the time: so many count for one. */
const QUICK_LOOKS = 2;
/**
 * Of the looks of one poll at most so many count towards a flush, or one in 2^COUNTED_SHIFT where that is more: a
 * caller that asks for many looks at once waits for something slow.
 */
const COUNTED_LOOKS = 16;
const COUNTED_SHIFT = 5;
const MAX_LOOKS = 2 ** 20;
// As constants of this file: what another file exports is looked up at each use.
const { NOTHING, OTHER } = Next;

/** What a loop goes through. */
export interface LoopParts {
  options: Pick<InboxOptions, 'onMessage'>;
  end: InboxEnd;
  pump: CompletionDriver;
  arrivals: Arrivals;
  scheduler: LaneScheduler;
  polled: PolledLanes;
  delivery: Delivery;
  completions: LaneCompletions;
  fencing: Fencing;
  news: LaneNews;
  queue: MessageQueue;
  /** The time at which it begins. */
  nowMs: number;
}

export class InboxLoop {
  /** What visits messages where nobody says what: `onMessage`. */
  readonly visit: ((lane: Lane) => void) | undefined;
  private readonly options: Pick<InboxOptions, 'onMessage'>;
  private readonly end: InboxEnd;
  private readonly pump: CompletionDriver;
  private readonly arrivals: Arrivals;
  private readonly scheduler: LaneScheduler;
  private readonly polled: PolledLanes;
  private readonly delivery: Delivery;
  private readonly completions: LaneCompletions;
  private readonly fencing: Fencing;
  private readonly news: LaneNews;
  private readonly queue: MessageQueue;
  private visitor: ((lane: Lane) => void) | undefined; // of the last poll()
  private looks = 0; // since the last flush, with the loop form, in quick ones
  private flushedMs: number; // when that was
  private polling = false;

  constructor(parts: LoopParts) {
    this.options = parts.options;
    this.end = parts.end;
    this.pump = parts.pump;
    this.arrivals = parts.arrivals;
    this.scheduler = parts.scheduler;
    this.polled = parts.polled;
    this.delivery = parts.delivery;
    this.completions = parts.completions;
    this.fencing = parts.fencing;
    this.news = parts.news;
    this.queue = parts.queue;
    this.flushedMs = parts.nowMs;
    this.visit = this.options.onMessage && this.deliver;
  }

  /** Asks for a poll soon. At the end of the one that runs everything is looked after. */
  schedule(): void {
    if (!this.polling) this.pump.schedule();
  }

  /** See {@link Inbox.poll}. */
  poll(visit: ((lane: Lane) => void) | undefined, looks: number): number {
    this.end.check();
    if (typeof visit !== 'function') throw invalidArgument('visit', visit, 'a function');
    if (looks !== 1) checkInteger('looks', looks, 1, MAX_LOOKS);
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

  /** The poll of the pump: handles what has completed, with so many looks. Answers how much that was. */
  drain(looks: number): number {
    return this.drainQueue(this.deliver, looks);
  }

  /**
   * The poll for those who await something.
   *
   * @param delivers also messages, to the queue if somebody awaits one, else to the visitor of the last poll(); a
   *   consumer that only pulls gets no message that it did not poll for
   */
  drive(delivers: boolean): number {
    if (delivers) {
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

  private readonly deliver = (lane: Lane): void => {
    const message = lane.message();
    if (this.options.onMessage !== undefined) {
      this.options.onMessage(message);
      return;
    }
    this.queue.put(message);
  };

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
    if (this.polling || this.end.isClosing) return 0;
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
}
