// Callers that wait for a condition, first come first served.
//
// Invariant: wake() tries a waiter only when all earlier waiters have succeeded or left, so order is kept; a waiter
// that has left (time-out, abort) is never tried again.
import { watchDeadline } from '../core/deadline.js';
import { checkInteger } from '../core/validate.js';
import type { Clock } from './port.js';

interface Waiter {
  attempt: () => number;
  resolve: (value: number) => void;
  reject: (error: unknown) => void;
  leave: () => void;
}

export class WaitList {
  private waiters: Waiter[] = [];
  private waking = false;
  private readonly clock: Clock;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  get length(): number {
    return this.waiters.length;
  }

  /**
   * Waits until `attempt` answers something other than 0.
   *
   * @param what for the message of a time-out
   */
  wait(
    attempt: () => number,
    timeoutMs: number | undefined,
    signal: AbortSignal | undefined,
    what: string,
  ): Promise<number> {
    if (timeoutMs !== undefined) checkInteger('timeoutMs', timeoutMs, 1, 2 ** 31 - 1);
    return new Promise((resolve, reject) => {
      const late = `waited ${timeoutMs} ms for ${what}`;
      const aborted = `waiting for ${what} was aborted`;
      const leave = watchDeadline({ timeoutMs, signal, late, aborted, timers: this.clock }, (error) => {
        this.remove(waiter);
        reject(error);
        this.wake(); // the next one may be smaller
      });
      const waiter: Waiter = { attempt, resolve, reject, leave };
      this.waiters.push(waiter);
    });
  }

  /** Tries the waiters in order, until one does not succeed. For conditions that are ordered like the waiters. */
  wake(): void {
    // An attempt may call code that comes back here, or makes a waiter leave: none is tried twice at a time.
    if (this.waking) return;
    this.waking = true;
    try {
      for (let waiter = this.waiters[0]; waiter !== undefined; waiter = this.waiters[0]) {
        let value: number;
        try {
          value = waiter.attempt();
        } catch (error) {
          this.remove(waiter);
          waiter.reject(error);
          continue;
        }
        if (value === 0) return;
        this.remove(waiter);
        waiter.resolve(value);
      }
    } finally {
      this.waking = false;
    }
  }

  /** Tries every waiter. For conditions that have nothing to do with the order of the waiters. */
  wakeAny(): void {
    for (const waiter of [...this.waiters]) {
      const value = waiter.attempt();
      if (value === 0) continue;
      this.remove(waiter);
      waiter.resolve(value);
    }
  }

  private remove(waiter: Waiter): void {
    const at = this.waiters.indexOf(waiter);
    if (at >= 0) this.waiters.splice(at, 1);
    waiter.leave();
  }

  /** Ends all waiting with an error. */
  reject(error: unknown): void {
    for (const waiter of this.waiters.splice(0)) {
      waiter.leave();
      waiter.reject(error);
    }
  }
}
