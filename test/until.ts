// The wait for a condition. Not a test.
//
// Invariant: it trusts no pause: it asks again after each, and fails with the name of what did not come.
import { setTimeout as sleep } from 'node:timers/promises';

/** How a wait asks again. */
export interface Patience {
  /** It fails after so many ms. */
  limitMs: number;
  /** Between two questions; given the number of questions so far. Default: 5 ms. */
  pause?: (asked: number) => Promise<unknown>;
}

/** Waits until a condition answers something other than undefined and false; answers that. */
export type Until = <T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  limitMs?: number,
) => Promise<T>;

/**
 * Makes an {@link Until} that waits for `limitMs`, unless a call has a limit of its own.
 *
 * @returns a function that rejects with an Error that says what did not come
 */
export function waiting({ limitMs, pause = () => sleep(5) }: Patience): Until {
  return async (what, condition, ownMs = limitMs) => {
    const end = performance.now() + ownMs;
    for (let asked = 1; ; asked++) {
      const value = await condition();
      if (value !== undefined && value !== false) return value;
      if (performance.now() > end) throw new Error(`after ${ownMs} ms still not: ${what}`);
      await pause(asked);
    }
  };
}
