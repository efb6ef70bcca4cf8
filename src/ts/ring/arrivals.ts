// The search of an inbox for new messages: in the polled lanes, and in the completion queue.
//
// Invariant: the completion queue is polled at least once in a fixed number of looks and messages, and at once when a
// polled lane waits for a completion; a long run of looks yields the processor now and then.
import type { LaneCompletions } from './lane-completions.js';
import { Next } from './lane-reader.js';
import type { PolledLanes } from './polled-lanes.js';
import type { LaneScheduler } from './lane-scheduler.js';

// As a constant of this file: what another file exports is looked up at each use.
const { OTHER } = Next;

/** Looks at polled lanes for one at the completion queue, which costs more than all of them. */
const LOOKS_PER_CQ = 32;
/** The same while there is only one such lane, a look at which costs so much less. */
const QUICK_LOOKS_PER_CQ = 128;
/** Messages that count as so many looks. */
const MESSAGES_PER_CQ = 256;
/**
 * Looks at polled lanes for one at the queue in which others get this processor, and how many looks at the queue that
 * takes.
 */
const LOOKS_PER_YIELD = 1024;
const YIELDING_LOOKS = 33;

export class Arrivals {
  private unpolled = 0; // looks since the completion queue was looked at,
  private unyielded = 0; // and since others could have this processor
  private readonly polled: PolledLanes;
  private readonly completions: LaneCompletions;
  private readonly scheduler: LaneScheduler;

  constructor(polled: PolledLanes, completions: LaneCompletions, scheduler: LaneScheduler) {
    this.polled = polled;
    this.completions = completions;
    this.scheduler = scheduler;
  }

  /**
   * Looks once at the only lane that is polled. A value of {@link Next}: OTHER when that is not all that is to be
   * looked at now, and look() must be called.
   */
  lookAtOne(): number {
    const lane = this.polled.alone;
    if (lane === undefined || lane.condemned !== undefined || lane.waits || !this.scheduler.empty) return OTHER;
    if (++this.unpolled >= QUICK_LOOKS_PER_CQ) return OTHER;
    return lane.look();
  }

  /** Looks until something is there, at most so often. Answers how many completions there were. */
  look(looks: number): number {
    if (this.polled.empty) return this.completions.poll(this.scheduler.empty ? looks : 1);
    let count = 0;
    let left = looks;
    do {
      left--;
      const waits = this.polled.lookAtAll();
      this.unpolled++;
      if (looks > 1) this.unyielded += waits ? LOOKS_PER_CQ : 1;
      if (!waits && this.unpolled < LOOKS_PER_CQ) continue;
      this.unpolled = 0;
      // What waits for its turn is not held up.
      const yields = looks > 1 && this.unyielded >= LOOKS_PER_YIELD && this.scheduler.empty;
      if (yields) this.unyielded = 0;
      count += this.completions.poll(yields ? YIELDING_LOOKS : 1);
    } while (left > 0 && count === 0 && this.scheduler.empty);
    return count;
  }

  /** So many messages were delivered: lanes that are not polled wait for no more of them than that. */
  delivered(messages: number): void {
    this.unpolled += Math.floor((messages * LOOKS_PER_CQ) / MESSAGES_PER_CQ);
  }
}
