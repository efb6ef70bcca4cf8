// Settings that hold the SLO with the fewest GPUs, by search on the simulator.
//
// Invariant: deterministic: one setting at a time is changed, in a fixed order, and a change stays if it holds the SLO
// with fewer GPUs (or comes nearer to it, while none holds it). Then the most instances go down as far as the SLO holds
// with about as many GPUs on average, because the peak has to be bought.
import { DEFAULT_SETTINGS, type Settings } from './settings.js';
import type { SimulationResult } from './result.js';

/** The values to try, in this order. */
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

/** Parts of the most instances that are tried at the end, and how much more they may take on average. */
const LOWER = [0.85, 0.7, 0.55, 0.4, 0.3, 0.22, 0.16, 0.12];
const ABOUT_AS_MANY = 1.02;

/** Less than so much fewer GPUs is chance: the defaults stay. */
const GAIN = 0.98;

/** The settings that a search may change. */
export const TUNABLE = Object.keys(CHOICES) as readonly (keyof Settings)[];

/** The outcome of a search. */
export interface Tuned<R extends SimulationResult = SimulationResult> {
  readonly settings: Settings;
  readonly result: R;
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
 * @param keys the settings to search over; default all
 */
export function tune<R extends SimulationResult>(
  run: (settings: Settings) => R,
  quantile: number,
  margin: number,
  keys: readonly (keyof Settings)[] = TUNABLE,
): Tuned<R> {
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
  if (result.inTime < quantile + margin) return { settings, result, runs };
  const { most } = settings;
  const atMost = ABOUT_AS_MANY * result.gpusMean;
  for (const part of LOWER) {
    const next = { ...settings, most: most * part };
    const tried = run(next);
    runs++;
    if (tried.inTime < quantile + margin || tried.gpusMean > atMost || tried.gpusPeak > result.gpusPeak) break;
    [settings, result] = [next, tried];
  }
  return { settings, result, runs };
}

/** The outcome of a search over several workloads. */
export interface TunedOver {
  readonly settings: Settings;
  /** GPUs on average relative to the default settings, the mean over the workloads; 1: the defaults stay. */
  readonly relative: number;
  readonly runs: number;
}

/**
 * Searches for settings for workloads that are not known yet, on several that are: GPUs on average go down, relative to
 * the defaults, and each workload holds its SLO with the margin that is asked for, or as well as with the defaults.
 * Where less than 2 % is gained, the defaults stay.
 *
 * @param workloads each simulates its fleet with settings
 * @param quantile that must be in time; `margin` more than that, as others are not the same
 */
export function tuneOver(
  workloads: readonly ((settings: Settings) => SimulationResult)[],
  quantile: number,
  margin: number,
  keys: readonly (keyof Settings)[] = TUNABLE,
): TunedOver {
  const defaults = workloads.map((run) => run(DEFAULT_SETTINGS));
  let [settings, relative, runs] = [DEFAULT_SETTINGS, 1, workloads.length];
  const relativeOf = (next: Settings): number => {
    let sum = 0;
    for (const [i, run] of workloads.entries()) {
      const result = run(next);
      runs++;
      const least = Math.min(quantile + margin, defaults[i]!.inTime);
      if (result.inTime < least) return Number.POSITIVE_INFINITY;
      sum += result.gpusMean / defaults[i]!.gpusMean;
    }
    return sum / workloads.length;
  };
  for (const key of keys) {
    for (const value of CHOICES[key] ?? []) {
      const next = { ...settings, [key]: value };
      const tried = relativeOf(next);
      if (tried < relative * 0.998) [settings, relative] = [next, tried];
      else if (value !== CHOICES[key]![0]) break;
    }
  }
  return relative < GAIN ? { settings, relative, runs } : { settings: DEFAULT_SETTINGS, relative: 1, runs };
}
