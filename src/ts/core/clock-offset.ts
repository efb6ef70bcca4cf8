// How far one clock is ahead of another that runs at the same rate.
//
// Invariant: pure but for the two clocks. A process may lose its processor between two reads, for tens of milliseconds
// on a busy machine; a pair of reads with such a gap between them does not decide.

const MAX_PAIRS = 50;
const NARROW_US = 2;

/**
 * Compares two clocks: reads `other` between two reads of `own`, until these are close together, or takes the closest
 * of 50 pairs.
 *
 * @param other in microseconds
 * @param own in microseconds
 * @returns what to add to `own` to have `other`, in microseconds; it is off by half of what lay between the two reads
 *   of `own`: a microsecond, unless all pairs were interrupted
 */
export function clockOffsetUs(other: () => number, own: () => number): number {
  let closestUs = Number.POSITIVE_INFINITY;
  let offsetUs = 0;
  for (let pair = 0; pair < MAX_PAIRS && closestUs > NARROW_US; pair++) {
    const beforeUs = own();
    const otherUs = other();
    const apartUs = own() - beforeUs;
    if (apartUs >= closestUs) continue;
    closestUs = apartUs;
    offsetUs = otherUs - (beforeUs + apartUs / 2);
  }
  return offsetUs;
}
