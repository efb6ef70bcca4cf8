// The forecast of when a request will be done, from the work ahead of it and its cost.
//
// Invariant: pure arithmetic. If every task takes its mean time and no instance idles while there is work, the forecast
// of a line of stages is exact. It is never earlier than the work ahead allows.

/** One stage as a newcomer finds it. All times in microseconds. */
export interface StageAhead {
  /** What the tasks ahead of the newcomer will take there, together. */
  readonly workUs: number;
  /** Tasks that it can run at a time now. */
  readonly servers: number;
  /** In how long further servers will be there, each as long as it takes to start. */
  readonly startingUs: readonly number[];
  /** What the newcomer takes there. */
  readonly ownUs: number;
}

export interface Forecast {
  /** From now on until the result is there. */
  readonly completionUs: number;
  /** What the request would take if nothing were ahead of it. */
  readonly aloneUs: number;
  /** The stage whose work ahead takes longest; -1: there is none. */
  readonly bottleneck: number;
}

/**
 * How long so many servers need for the work ahead.
 *
 * @param workUs together
 * @param servers that begin now, each with a task at a time
 * @param startingUs when each of the others begins
 * @returns microseconds; Infinity when there is work and never a server
 */
export function drainedAfterUs(workUs: number, servers: number, startingUs: readonly number[]): number {
  if (workUs <= 0) {
    if (servers > 0) return 0;
    return startingUs.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...startingUs);
  }
  if (startingUs.length === 0) return servers > 0 ? workUs / servers : Number.POSITIVE_INFINITY;
  // Those that begin earlier work until the next one joins them.
  const later = [...startingUs].sort((a, b) => a - b);
  let [left, working, nowUs] = [workUs, servers, 0];
  for (const atUs of later) {
    const done = working * (atUs - nowUs);
    if (done >= left) break;
    left -= done;
    nowUs = atUs;
    working++;
  }
  return nowUs + left / working;
}

/**
 * The longest path through a graph.
 *
 * @param before for each stage the stages that it waits for; a negative index is the request itself
 * @param ownUs what a stage takes
 * @returns the sum of its stages; NaN where one of any path is
 */
export function longestPathUs(before: readonly (readonly number[])[], ownUs: (stage: number) => number): number {
  const done: number[] = [];
  let longest = 0;
  for (let stage = 0; stage < before.length; stage++) {
    let inputs = 0;
    for (const other of before[stage]!) if (other >= 0) inputs = Math.max(inputs, done[other]!);
    done.push(inputs + ownUs(stage));
    longest = Math.max(longest, done[stage]!);
  }
  return longest;
}

/**
 * Forecasts a request: the longest path through the graph, on which a stage begins with the request when the stages
 * before have done with it and the work ahead is done.
 *
 * @param before for each stage the stages that it waits for; a negative index is the request itself
 * @param overheadUs what the way takes besides
 */
export function forecast(
  before: readonly (readonly number[])[],
  stages: readonly StageAhead[],
  overheadUs: number,
): Forecast {
  const doneUs: number[] = [];
  let [completionUs, longest, bottleneck] = [0, 0, -1];
  for (let i = 0; i < stages.length; i++) {
    const { workUs, servers, startingUs, ownUs } = stages[i]!;
    let inputsUs = 0;
    for (const other of before[i]!) if (other >= 0) inputsUs = Math.max(inputsUs, doneUs[other]!);
    const freeUs = drainedAfterUs(workUs, servers, startingUs);
    if (freeUs > longest) [longest, bottleneck] = [freeUs, i];
    doneUs.push(Math.max(inputsUs, freeUs) + ownUs);
    completionUs = Math.max(completionUs, doneUs[i]!);
  }
  const aloneUs = longestPathUs(before, (stage) => stages[stage]!.ownUs) + overheadUs;
  return { completionUs: completionUs + overheadUs, aloneUs, bottleneck };
}
