// The outside world of the control plane, besides a store: a clock, timers, names, chance.
//
// Invariant: clocks of two processes are never compared, and no wall clock is read, so a clock that jumps does not
// matter.
import { randomBytes } from 'node:crypto';
import { realTimers, type Timers } from '../core/deadline.js';

export interface ControlPort {
  /** A monotonic clock, and timers on it. */
  readonly timers: Timers;
  /** A name that nobody else has had. */
  id(): string;
  /** A number from 0 up to 1. */
  random(): number;
}

/** The port of real life. */
export const systemControlPort: ControlPort = {
  timers: realTimers,
  id: () => randomBytes(12).toString('hex'),
  random: Math.random,
};
