// Bootstrap connections to an inbox that got no channel: counted, and reported no faster than anybody can read.
//
// Invariant: each connection counts, and is part of exactly one event, its own or one that covers several; there are at
// most MOST_EVENTS events a second, however many connections come.
import { notify } from './callback.js';
import type { LaneEvent } from './inbox-options.js';
import type { Clock, PortRejection } from './port.js';
import type { InboxCounters } from './status.js';

const WINDOW_MS = 1000;
const MOST_EVENTS = 8;

/** Not of strangers: the inbox is being closed. */
const OWN_REASON = 'closed';

export class Strangers {
  private readonly clock: Clock;
  private readonly counters: InboxCounters;
  private readonly onLane: ((event: LaneEvent) => void) | undefined;
  private windowEndMs = Number.NEGATIVE_INFINITY;
  private told = 0; // events of this window
  private untold = 0; // rejections that no event has told of
  private last: PortRejection | undefined; // of these
  private cancelTimer: (() => void) | undefined;

  constructor(clock: Clock, counters: InboxCounters, onLane: ((event: LaneEvent) => void) | undefined) {
    this.clock = clock;
    this.counters = counters;
    this.onLane = onLane;
  }

  /** A connection was not let in. */
  readonly rejected = (rejection: PortRejection): void => {
    if (rejection.reason === OWN_REASON) return;
    this.counters.refused++;
    if (this.onLane === undefined) return;
    const now = this.clock.now();
    if (now >= this.windowEndMs && this.cancelTimer === undefined) this.beginWindow(now);
    if (this.told < MOST_EVENTS) {
      this.told++;
      this.report(rejection, 1);
      return;
    }
    this.untold++;
    this.last = rejection;
    this.cancelTimer ??= this.clock.after(Math.max(1, this.windowEndMs - now), this.summarise, true);
  };

  private beginWindow(now: number): void {
    this.windowEndMs = now + WINDOW_MS;
    this.told = 0;
  }

  private readonly summarise = (): void => {
    this.cancelTimer = undefined;
    const { untold, last } = this;
    this.untold = 0;
    this.last = undefined;
    this.beginWindow(this.clock.now());
    this.told = 1;
    if (last !== undefined) this.report(last, untold);
  };

  private report({ remoteAddress: { host, port }, error: reason }: PortRejection, count: number): void {
    // By the local socket there is no port.
    const from = port === 0 ? host : `${host}:${port}`;
    notify(this.onLane, { type: 'refused', from, producer: '', reason, count });
  }

  /** The inbox is closed: refusals that were not reported are reported now. */
  close(): void {
    if (this.cancelTimer === undefined) return;
    this.cancelTimer();
    this.summarise();
  }
}
