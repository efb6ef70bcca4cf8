// Which part of a stage's tasks is in time, with so many instances.
//
// Invariant: 0 to 1, and never less with more instances, also where work comes faster than it is done: what cannot be
// in time is refused there, as admission does it, and the rest is.
import { mmcWaitsLonger } from './queueing.js';

/** Into how many parts the load is cut where some of it must be refused. */
const PARTS = 32;

/** What a stage has to do, and how soon. */
export interface SloLoad {
  /** Tasks that come per ms, 0 or more. */
  readonly rate: number;
  /** Mean time of a task in ms; 0: it is not known. */
  readonly serviceMs: number;
  /** Tasks that one instance runs at a time, 1 or more. */
  readonly slots: number;
  /** A task shall be done that long after it could begin, in ms. */
  readonly sloMs: number;
  /** The part of tasks that shall be in time, 0.5 to 0.9999. */
  readonly quantile: number;
}

/**
 * The part of the tasks that come and are done in time, by M/M/c.
 *
 * @param instances 0 or more
 * @returns 0 to 1; 1 where nothing comes, or where nobody knows what a task costs and there is an instance
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a rate or a time that is no number of 0 or more
 */
export function inTimePart({ rate, serviceMs, slots, sloMs }: SloLoad, instances: number): number {
  if (rate === 0) return 1;
  if (instances === 0) return 0;
  if (serviceMs === 0) return 1;
  const waitMs = Math.max(0, sloMs - serviceMs);
  let most = 0;
  for (let part = PARTS; part > 0; part--) {
    const taken = part / PARTS;
    if (taken <= most) break; // less cannot be more
    most = Math.max(most, taken * (1 - mmcWaitsLonger(instances * slots, taken * rate, serviceMs, waitMs)));
  }
  return most;
}
