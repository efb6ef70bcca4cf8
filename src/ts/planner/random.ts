// Random numbers of a seed.
//
// Invariant: the same seed gives the same numbers on every machine: integer arithmetic only (mulberry32).

/**
 * Numbers from 0 up to, not including, 1.
 *
 * @param seed a whole number; only its lowest 32 bits count
 */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Exponentially distributed, with this mean. */
export function exponential(draw: () => number, mean: number): number {
  return -Math.log(1 - draw()) * mean;
}

/**
 * Picks indices in proportion to weights.
 *
 * @param weights each 0 or more, not all 0
 * @returns a function from a number of 0 to 1, 1 excluded, to an index of `weights`
 */
export function pickerOf(weights: readonly number[]): (u: number) => number {
  const sums: number[] = [];
  let total = 0;
  for (const weight of weights) {
    total += weight;
    sums.push(total);
  }
  return (u) => sums.findIndex((sum) => u * total < sum);
}
