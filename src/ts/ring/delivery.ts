// The delivery of arrived messages: lanes get their turns, and a visitor sees each message.
//
// Invariant: the messages of a lane are visited in order, each once; an error that a visitor throws, or a lane that
// breaks the protocol, costs no other lane its turn. After stop() nothing is visited.
import type { CondemnedLanes } from './condemned-lanes.js';
import type { Lane } from './lane.js';
import { Next } from './lane-reader.js';
import type { LaneNews } from './lane-news.js';
import type { PolledLanes } from './polled-lanes.js';
import type { InboxCounters } from './status.js';
import type { LaneScheduler } from './lane-scheduler.js';

// As a constant of this file: what another file exports is looked up at each use.
const { SHORT } = Next;

/** Messages delivered in one poll. */
const BATCH = 256;

export class Delivery {
  private stopped = false;
  private readonly scheduler: LaneScheduler;
  private readonly polled: PolledLanes;
  private readonly news: LaneNews;
  private readonly condemned: CondemnedLanes;
  private readonly counters: InboxCounters;

  constructor(
    scheduler: LaneScheduler,
    polled: PolledLanes,
    news: LaneNews,
    condemned: CondemnedLanes,
    counters: InboxCounters,
  ) {
    this.scheduler = scheduler;
    this.polled = polled;
    this.news = news;
    this.condemned = condemned;
    this.counters = counters;
  }

  stop(): void {
    this.stopped = true;
  }

  /** Gives the lanes that have something their turns. Answers how many messages that were. */
  serve(visit: (lane: Lane) => void): number {
    let served = 0;
    for (let lane = this.scheduler.next(); lane !== undefined && served < BATCH; lane = this.scheduler.next()) {
      // A visit may have closed the inbox.
      if (this.stopped) return served;
      served++;
      this.news.touch(lane);
      this.visitNext(lane, visit);
    }
    return served;
  }

  /**
   * Delivers the short messages that are there of a lane, the first of which was found; no other lane is polled, and
   * nothing waits for its turn. Answers how many there were.
   */
  serveShort(lane: Lane, visit: (lane: Lane) => void): number {
    const { counters } = this;
    let served = 0;
    try {
      do {
        if (!lane.takeShort()) {
          this.condemned.add(lane);
          return served;
        }
        served++;
        counters.messages++;
        counters.bytes += lane.length;
        visit(lane);
      } while (served < BATCH && !this.stopped && lane.condemned === undefined && lane.look() === SHORT);
      return served;
    } finally {
      if (served === BATCH) this.news.settle(lane);
      else this.news.settleQuiet(lane);
    }
  }

  /** Delivers everything that was published on a lane that is to be fenced. Answers how many messages that were. */
  finish(lane: Lane, visit: (lane: Lane) => void): number {
    let count = 0;
    while (this.hasMore(lane) && !this.stopped) {
      count++;
      this.visitNext(lane, visit);
    }
    return count;
  }

  // A producer that still stores ends when its credit does.
  private hasMore(lane: Lane): boolean {
    if (lane.waiting === 0 && lane.polled && lane.arrived()) this.scheduler.announce(lane, 1);
    return lane.waiting > 0;
  }

  private visitNext(lane: Lane, visit: (lane: Lane) => void): void {
    if (!lane.take()) {
      this.scheduler.drop(lane);
      this.condemned.add(lane);
      return;
    }
    this.scheduler.charge(lane, lane.isPulled ? 0 : lane.length);
    const { counters } = this;
    if (lane.isSkipped) {
      counters.skipped++;
      const { sequence } = lane;
      lane.acknowledge(sequence);
      lane.release(sequence);
      return;
    }
    counters.messages++;
    counters.bytes += lane.length;
    visit(lane);
    if (lane.polled) this.polled.lookAt(lane);
  }
}
