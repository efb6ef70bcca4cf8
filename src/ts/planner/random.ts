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

/** Normally distributed, mean 0 and deviation 1 (Box and Muller, 1958). */
export function normal(draw: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
}
