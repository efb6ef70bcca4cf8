// Settings that hold the SLO with the fewest GPUs, by search on the simulator.
//
// Invariant: deterministic: one setting at a time is changed, in a fixed order, and a change stays if it holds the SLO
// with fewer GPUs (or comes nearer to it, while none holds it). What is searched on is never what is reported on, where
// there is another seed.
import { DEFAULT_SETTINGS, type Settings } from './builders.js';
import type { SimulationResult } from './result.js';

/** What is tried, in this order. */
const CHOICES: { readonly [K in keyof Settings]?: readonly Settings[K][] } = {
  most: [1, 0.8, 0.65, 0.5],
  downAfterLoads: [0.5, 0.1],
  zeroAfterLoads: [1, 0.2],
  zeroAfterGaps: [1, 0],
  slack: [2, 4],
  quantile: [0.9, 0.7],
  evidence: [6, 3],
  patience: [0.6, 1],
  waitShare: [0.5, 0.85],
};

/** What may be changed. */
export const TUNABLE = Object.keys(CHOICES) as readonly (keyof Settings)[];

/** What a search found. */
export interface Tuned {
  readonly settings: Settings;
  readonly result: SimulationResult;
  /** Simulations that it took. */
  readonly runs: number;
}

/** Whether one result is better: it holds the SLO with fewer GPUs; or it comes nearer to it. */
export function isBetter(a: SimulationResult, b: SimulationResult, quantile: number, margin: number): boolean {
  const [aHolds, bHolds] = [a.inTime >= quantile + margin, b.inTime >= quantile + margin];
  if (aHolds !== bHolds) return aHolds;
  return aHolds ? a.gpusMean < b.gpusMean * 0.998 : a.inTime > b.inTime + 1e-4;
}

/**
 * Searches.
 *
 * @param run simulates a fleet with settings
 * @param quantile that must be in time; `margin` more than that, as other seeds are not the same
 * @param keys what may be changed; default all
 */
export function tune(
  run: (settings: Settings) => SimulationResult,
  quantile: number,
  margin: number,
  keys: readonly (keyof Settings)[] = TUNABLE,
): Tuned {
  let settings = DEFAULT_SETTINGS;
  let result = run(settings);
  let runs = 1;
  for (const key of keys) {
    for (const value of CHOICES[key] ?? []) {
      const next = { ...settings, [key]: value };
      const tried = run(next);
      runs++;
      if (isBetter(tried, result, quantile, margin)) [settings, result] = [next, tried];
      else if (value !== CHOICES[key]![0]) break; // further in the same direction is worse as a rule
    }
  }
  return { settings, result, runs };
}
