// What batches bring, by the figures of a profile.
//
// Invariant: sizes ascend and the first is 1. Between two sizes the time is a straight line; beyond the largest one the
// throughput stays.
import type { StageCosts } from '../profiles/costs.js';

/** How much faster n tasks at once are than one after the other, by the batches of a profile. */
export function gainOf(batches: StageCosts['batches']): (tasks: number) => number {
  const [, alone] = batches[0]!;
  return (tasks) => {
    let [size, seconds] = batches[0]!;
    for (const [nextSize, nextSeconds] of batches) {
      if (nextSize > tasks) {
        const part = (tasks - size) / (nextSize - size);
        return (tasks * alone) / (seconds + part * (nextSeconds - seconds));
      }
      [size, seconds] = [nextSize, nextSeconds];
    }
    return (size * alone) / seconds;
  };
}

/** The batch size with the highest throughput. */
export function bestBatch(batches: StageCosts['batches']): number {
  let [best, most] = [1, 0];
  for (const [size, seconds] of batches) if (size / seconds > most * 1.02) [best, most] = [size, size / seconds];
  return best;
}
