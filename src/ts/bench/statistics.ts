// Percentiles.
//
// Invariant: the nearest-rank definition, on all samples; nothing is interpolated and nothing is left out.

/**
 * A percentile of samples that are sorted in ascending order.
 *
 * @param share 0 to 1, for example 0.99
 * @returns the smallest sample that at least `share` of all samples do not exceed; NaN without samples
 */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return Number.NaN;
  const rank = Math.max(1, Math.ceil(share * sorted.length));
  return sorted[Math.min(rank, sorted.length) - 1]!;
}

/** A number with at most three decimals. */
export function round3(value: number): number {
  return Math.round(value * 1000) / 1000;
}
