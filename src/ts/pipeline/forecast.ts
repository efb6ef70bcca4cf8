// When a request will be done, from what is ahead of it and what it costs.
//
// Invariant: pure arithmetic. Where every task takes its mean and instances never wait for each other in vain, the
// forecast of a line of stages is exact; it is never earlier than what the work ahead alone allows.

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
  const aloneUs: number[] = [];
  let [completionUs, alone, longest, bottleneck] = [0, 0, 0, -1];
  for (let i = 0; i < stages.length; i++) {
    const { workUs, servers, startingUs, ownUs } = stages[i]!;
    let [inputsUs, inputsAlone] = [0, 0];
    for (const other of before[i]!) {
      if (other < 0) continue;
      inputsUs = Math.max(inputsUs, doneUs[other]!);
      inputsAlone = Math.max(inputsAlone, aloneUs[other]!);
    }
    const freeUs = drainedAfterUs(workUs, servers, startingUs);
    if (freeUs > longest) [longest, bottleneck] = [freeUs, i];
    doneUs.push(Math.max(inputsUs, freeUs) + ownUs);
    aloneUs.push(inputsAlone + ownUs);
    completionUs = Math.max(completionUs, doneUs[i]!);
    alone = Math.max(alone, aloneUs[i]!);
  }
  return { completionUs: completionUs + overheadUs, aloneUs: alone + overheadUs, bottleneck };
}
