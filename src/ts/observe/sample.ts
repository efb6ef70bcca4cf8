// One look at a pipeline: what status() said, and what was counted until then.
//
// Invariant: pure. What grew since an earlier sample is computed for each process: of a process that is new since then,
// all that it has counted is new.
import type { LocalPipelineStatus, Restart, RestartTotal } from '../cluster/index.js';
import type { LinkStatus, PlaceStatus, WorkflowSpec } from '../pipeline/index.js';
import { NO_LATENCY } from './percentiles.js';
import type { RequestCounts, RequestRecord } from './request-log.js';

/** What was seen of a pipeline at one time. */
export interface Sample {
  /** On a clock that never goes back, in ms. */
  readonly takenAtMs: number;
  /** Wall clock, in ms since 1970. */
  readonly wallMs: number;
  readonly status: LocalPipelineStatus;
  readonly requests: RequestCounts;
}

/** What a snapshot is made of. */
export interface SnapshotInput {
  readonly spec: WorkflowSpec;
  readonly device: string;
  readonly now: Sample;
  /** A few seconds before, for rates. */
  readonly before: Sample | undefined;
  /** A minute before, for percentiles. */
  readonly minuteBefore: Sample | undefined;
  /** The last ones, and how many there were. */
  readonly restarts: readonly Restart[];
  readonly restartTotals: readonly RestartTotal[];
  readonly recent: readonly RequestRecord[];
  /** More are reported together. */
  readonly maxTenants: number;
}

/** The gateway and all stage instances that answered. */
export function placesOf({ gateway, stages }: LocalPipelineStatus): PlaceStatus[] {
  return gateway === undefined ? Object.values(stages) : [gateway, ...Object.values(stages)];
}

/** The state of a place in an earlier sample, when it is the same process. */
export function samePlace<T extends PlaceStatus>(now: T, before: LocalPipelineStatus | undefined): T | undefined {
  const found = before === undefined ? undefined : placesOf(before).find(({ name }) => name === now.name);
  return found?.incarnation === now.incarnation ? (found as T) : undefined;
}

/** The same lane in an earlier sample. */
export function sameLink(now: LinkStatus, before: PlaceStatus | undefined): LinkStatus | undefined {
  return before?.links.find(({ target }) => target === now.target);
}

/** How much a count grew. One that became smaller began again. */
export function grown(now: number, before: number | undefined): number {
  return before === undefined || before > now ? now : now - before;
}

/** The stage of a place's name: `decode` of `decode/0`. */
export function stageOf(place: string): string {
  return place.slice(0, place.lastIndexOf('/'));
}

/** The hop times of a place from one stage. */
export function hopsFrom(place: PlaceStatus | undefined, from: string) {
  return place?.hops[from] ?? NO_LATENCY;
}
