// A wait that ends after a time, or as soon as something has happened.
//
// Invariant: a ring during which nobody waits ends the next wait, so no ring is missed.
import type { Timers } from '../core/deadline.js';

/** @internal One waits at a time. */
export class Bell {
  private hasRung = false;
  private wake: (() => void) | undefined;

  constructor(private readonly timers: Timers) {}

  ring(): void {
    const { wake } = this;
    if (wake === undefined) this.hasRung = true;
    else wake();
  }

  /** Waits for a ring, at most `ms`, 0 or more. */
  wait(ms: number): Promise<void> {
    if (this.hasRung) {
      this.hasRung = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const end = () => {
        this.wake = undefined;
        cancelTimer();
        resolve();
      };
      this.wake = end;
      const cancelTimer = this.timers.after(Math.max(1, Math.ceil(ms)), end);
    });
  }
}
