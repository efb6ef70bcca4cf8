// The time that a request has left.
//
// Invariant: deadlines are by the clock of this process; what travels between processes is time left, in whole ms.
import { NO_DEADLINE } from './envelope.js';
import type { JoinedInputs } from './join.js';

/** When the request of a task is due, by the clock of this process in microseconds; Infinity: never. */
export function deadlineOf(joined: JoinedInputs): number {
  let deadline = Number.POSITIVE_INFINITY;
  for (let i = 0; i < joined.inputs.length; i++) {
    const input = joined.known(i);
    if (input !== undefined) deadline = Math.min(deadline, input.deadlineUs);
  }
  return deadline;
}

/** Time left, as it travels. */
export function remainingMs(deadlineUs: number, nowUs: number): number {
  if (deadlineUs === Number.POSITIVE_INFINITY) return NO_DEADLINE;
  return Math.min(NO_DEADLINE - 1, Math.max(0, Math.ceil((deadlineUs - nowUs) / 1000)));
}
