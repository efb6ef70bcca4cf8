// Scalar curves. Invariant: only + - * / sqrt, comparison and integer operations are used here and in everything
// built on top, all of which IEEE 754 defines to the last bit; so a clip is the same on every machine.

/** `value` limited to `low`..`high`. */
export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

/** Smooth step: 0 at 0, 1 at 1, flat at both ends; the argument is limited to 0..1. */
export function ease(value: number): number {
  const x = clamp(value, 0, 1);
  return x * x * (3 - 2 * x);
}

/** A sine of period 1 and range -1..1, by a corrected parabola (error below 0.002). */
export function wave(value: number): number {
  const x = value - Math.floor(value);
  const half = x < 0.5 ? x : x - 0.5;
  const arc = 16 * half * (0.5 - half);
  const sine = arc * (0.775 + 0.225 * arc);
  return x < 0.5 ? sine : -sine;
}
