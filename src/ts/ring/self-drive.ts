// The polling for callers that await something with `wait: 'busy'`, when nobody else polls.
//
// Invariant: it polls while at least one caller awaits, never inside a call of the user's, and never for a caller that
// only calls poll(). After a long time without a result it polls once a millisecond, and leaves the processor to
// others.
import type { Clock } from './port.js';

/** Turns of the event loop without anything before it pauses between looks. */
const EMPTY_TURNS = 100;
const PAUSE_MS = 1;

/** What it drives. */
export interface Driven {
  /** True while somebody awaits what a poll may bring. */
  isAwaited: () => boolean;
  /** Answers how much there was. */
  poll: () => number;
}

export class SelfDrive {
  private readonly clock: Clock;
  private readonly driven: Driven;
  private running = false;
  private empty = 0; // turns in a row that found nothing

  constructor(clock: Clock, driven: Driven) {
    this.clock = clock;
    this.driven = driven;
  }

  /** Somebody awaits something. Does nothing while it runs. */
  start(): void {
    this.empty = 0;
    if (this.running) return;
    this.running = true;
    this.next();
  }

  private readonly step = (): void => {
    if (!this.driven.isAwaited()) {
      this.running = false;
      return;
    }
    let count = 1; // a poll that throws has found something; the error propagates
    try {
      count = this.driven.poll();
    } finally {
      this.empty = count > 0 ? 0 : this.empty + 1;
      this.next();
    }
  };

  private next(): void {
    if (this.empty < EMPTY_TURNS) this.clock.soon(this.step);
    else this.clock.after(PAUSE_MS, this.step);
  }
}
