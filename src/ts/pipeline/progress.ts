// The remaining time of a request, estimated from the progress of its handlers.
//
// Invariant: an estimate uses this process's clock alone: a task's pace counts from when the gateway learned that it
// began. It is never negative, and missing as long as there is no pace.
import type { PlaceId } from './plan.js';

/** How much the newest word of a handler counts. */
const SAMPLE_WEIGHT = 0.3;
/** Less than that says nothing of the pace. */
export const MIN_DONE = 1e-6;
const MAX_PLACE_NUMBER = 65_536;

/** The pace of one task. */
export interface Pace {
  readonly startedUs: number;
  /** What it is expected to take in all, in microseconds; NaN: nobody knows. */
  readonly totalUs: number;
}

/**
 * The pace of a task after its handler has said how far it is.
 *
 * @param done 0 to 1
 */
export function paceAfter(pace: Pace, done: number, nowUs: number): Pace {
  if (!(done >= MIN_DONE)) return pace;
  const { startedUs, totalUs } = pace;
  const sampleUs = Math.max(0, nowUs - startedUs) / done;
  // A finished task gives its exact time.
  if (done >= 1 || Number.isNaN(totalUs)) return { startedUs, totalUs: sampleUs };
  return { startedUs, totalUs: totalUs + SAMPLE_WEIGHT * (sampleUs - totalUs) };
}

/** How long a task of this pace takes still, in microseconds; NaN: nobody knows. */
export function restUs({ startedUs, totalUs }: Pace, nowUs: number): number {
  return Number.isNaN(totalUs) ? Number.NaN : Math.max(0, totalUs - (nowUs - startedUs));
}

/**
 * What the longest way through the stages behind one usually takes, in microseconds.
 *
 * @param behind for each stage, those that take its output: all of them later ones
 * @param usualUs what a stage takes; NaN, which counts as nothing: nobody knows
 */
export function behindUs(
  behind: readonly (readonly number[])[],
  stage: number,
  usualUs: (stage: number) => number,
): number {
  const longest: number[] = [];
  for (let i = behind.length - 1; i >= stage; i--) {
    let most = 0;
    for (const next of behind[i]!) most = Math.max(most, longest[next]! + (usualUs(next) || 0));
    longest[i] = most;
  }
  return longest[stage]!;
}

/** The paces of the tasks of one request. */
export class RequestProgress {
  private readonly paces = new Map<number, Pace>(); // by place

  /** A task has begun, perhaps once more. */
  started(place: PlaceId, nowUs: number): void {
    this.paces.set(keyOf(place), { startedUs: nowUs, totalUs: Number.NaN });
  }

  /** Whether a task at a place has begun, as far as anybody has said. */
  hasStarted(place: PlaceId): boolean {
    return this.paces.has(keyOf(place));
  }

  /**
   * A handler says how far it is.
   *
   * @param done 0 to 1
   * @param behindUs what the stages behind take
   * @returns how long the request takes still on the way from there, in microseconds; undefined: nobody knows
   */
  remainingUs(place: PlaceId, done: number, nowUs: number, behindUs: number): number | undefined {
    const before = this.paces.get(keyOf(place));
    if (before === undefined) return undefined;
    const pace = paceAfter(before, done, nowUs);
    this.paces.set(keyOf(place), pace);
    const rest = restUs(pace, nowUs);
    return Number.isNaN(rest) ? undefined : rest + behindUs;
  }
}

function keyOf({ stage, instance }: PlaceId): number {
  return stage * MAX_PLACE_NUMBER + instance;
}
