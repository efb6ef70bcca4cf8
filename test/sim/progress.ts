// Tests whose work is bounded by counts, so that on a slow or busy machine they take as long as they take.
//
// Invariant: whoever counts says so now and then; the runner takes a test that prints nothing for a hanging one.
import t, { type Test } from 'tap';

const EVERY = 250;

/** The time of this file has no limit of tap's; call it before its tests. */
export function countNotTime(): void {
  t.setTimeout(0);
}

/** Call it with each thing that is done. */
export function sayProgress(t: Test, count: number): void {
  if (count % EVERY === 0) t.comment(`${count} so far`);
}
