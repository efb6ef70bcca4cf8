// How a place is, for those who look from outside.
//
// Invariant: every place has exactly one condition, whether it has a process or not.
import type { RdmaError } from '../core/errors.js';

/** How a place is. */
export interface PlaceCondition {
  /**
   * `starting`: its process is not ready yet. `ready`: it works. `waiting`: its process has ended, and the next one is not
   * started yet. `leaving`: no plan has it any more. `given-up`: it gets no process any more.
   */
  readonly state: 'starting' | 'ready' | 'waiting' | 'leaving' | 'given-up';
  readonly pid: number | undefined;
  /** Why it was given up. */
  readonly reason: string | undefined;
}

/** What is looked at. */
interface Place {
  readonly leaving: boolean;
  readonly givenUp: RdmaError | undefined;
  readonly ready: boolean;
  readonly pid: number | undefined;
}

/** The condition of a place. */
export function conditionOf(place: Place): PlaceCondition {
  return { state: stateOf(place), pid: place.pid, reason: place.givenUp?.message };
}

function stateOf({ leaving, givenUp, ready, pid }: Place): PlaceCondition['state'] {
  if (leaving) return 'leaving';
  if (givenUp !== undefined) return 'given-up';
  if (ready) return 'ready';
  return pid === undefined ? 'waiting' : 'starting';
}
