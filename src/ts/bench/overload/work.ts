// What a stage does for a request, ours and those of the peers.
//
// Invariant: it takes the time that the request says, and ends early only if its signal is aborted while it sleeps.
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkKind } from './settings.js';

/** In the environment of its processes: instances of each stage, and tasks that each runs at a time, such as `2x4`. */
export const SIZE_VARIABLE = 'ONEPIECE_BENCH_OVERLOAD';

/** The metadata of a request, which goes through all stages. */
export interface OverloadMeta extends Record<string, unknown> {
  work: WorkKind;
  /** For each stage. */
  ms: number[];
}

/**
 * Does the work of one task.
 *
 * @param ms how long it sleeps, or how much processor time of this process it uses
 * @throws AbortError when `signal` is aborted while it sleeps; work that computes does not hear it
 */
export async function work(kind: WorkKind, ms: number, signal?: AbortSignal): Promise<void> {
  if (kind === 'sleep') {
    if (ms > 0) await sleep(ms, undefined, signal === undefined ? {} : { signal });
    return;
  }
  const begin = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(begin);
    if (user + system >= ms * 1000) return;
  }
}
