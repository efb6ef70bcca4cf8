// Settings that hold the SLO with the fewest GPUs, by search on the simulator.
//
// Invariant: deterministic: settings are changed in a fixed order, and a change stays if it holds the SLO with fewer
// GPUs (or comes nearer to it, while none holds it). The search goes two ways, as neither is always the better one, and
// no settings are simulated twice. At the end of each the most instances go down as far as the SLO holds with about as
// many GPUs on average, because the peak has to be bought.
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

/** The most instances, tried first; this part of the requests that may be late is left to the other settings. */
const MOST = [1, 0.8, 0.65, 0.5, 0.4, 0.3, 0.22, 0.16, 0.13, 0.1];
const LEFT = 0.5;
/** Parts of the most instances that are tried at the end, and how much more they may take on average. */
const LOWER = [0.85, 0.7, 0.55, 0.4, 0.3, 0.22, 0.16, 0.12];
const ABOUT_AS_MANY = 1.02;

/** Less headroom needs quicker decisions: these settings are good together only. */
const TOGETHER = { evidence: [12, 6, 3], slack: [1, 2, 4], quantile: [0.5, 0.7, 0.9, 0.99] } as const;

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
  const [aHolds, bHolds] = [holdsSlo(a, quantile, margin), holdsSlo(b, quantile, margin)];
  if (aHolds !== bHolds) return aHolds;
  return aHolds ? a.gpusMean < b.gpusMean * 0.998 : a.inTime > b.inTime + 1e-4;
}

function holdsSlo({ sloMet, inTime }: SimulationResult, quantile: number, margin: number): boolean {
  return sloMet && inTime >= quantile + margin;
}

class Search<R extends SimulationResult> {
  settings = DEFAULT_SETTINGS;
  result: R;
  private readonly run: (settings: Settings) => R;
  private readonly quantile: number;
  private readonly margin: number;

  constructor(run: (settings: Settings) => R, quantile: number, margin: number) {
    this.run = run;
    this.quantile = quantile;
    this.margin = margin;
    this.result = run(DEFAULT_SETTINGS);
  }

  private holds(result: R): boolean {
    return holdsSlo(result, this.quantile, this.margin);
  }

  private take(settings: Settings, result: R): void {
    this.settings = settings;
    this.result = result;
  }

  /** First the most instances, then the others, those of {@link TOGETHER} together. */
  alongTheEdge(keys: readonly (keyof Settings)[]): void {
    let areTogether = false;
    for (const key of keys) {
      if (key === 'most') this.fewerAtMost();
      else if (!(key in TOGETHER)) this.one(key);
      else if (!areTogether) {
        areTogether = true;
        this.together(keys);
      }
    }
    this.lowerPeak(keys);
  }

  /** One setting after the other. */
  oneByOne(keys: readonly (keyof Settings)[]): void {
    for (const key of keys) this.one(key);
    this.lowerPeak(keys);
  }

  /** Whether it has found fewer GPUs on average, or about as many and fewer at the peak. */
  isPreferredTo(other: Search<R>): boolean {
    const [a, b] = [this.result, other.result];
    if (!this.holds(a) || !this.holds(b)) return isBetter(a, b, this.quantile, this.margin);
    if (a.gpusMean > ABOUT_AS_MANY * b.gpusMean) return false;
    return b.gpusMean > ABOUT_AS_MANY * a.gpusMean || a.gpusPeak < b.gpusPeak;
  }

  // One setting, in one direction.
  private one(key: keyof Settings): void {
    const [first] = CHOICES[key] ?? [];
    for (const value of CHOICES[key] ?? []) {
      const next = { ...this.settings, [key]: value };
      const tried = this.run(next);
      if (isBetter(tried, this.result, this.quantile, this.margin)) this.take(next, tried);
      else if (value !== first) break; // further in the same direction is worse as a rule
    }
  }

  // Those that are good together only, along the edge of the SLO: with less headroom more are late, so for each slack
  // the lowest quantile that holds counts, and it is no lower for a larger slack.
  private together(keys: readonly (keyof Settings)[]): void {
    const valuesOf = (key: keyof typeof TOGETHER) => (keys.includes(key) ? TOGETHER[key] : [this.settings[key]]);
    const [slacks, quantiles] = [valuesOf('slack'), valuesOf('quantile')];
    const { settings } = this;
    for (const evidence of valuesOf('evidence')) {
      for (let [s, q] = [0, 0]; s < slacks.length && q < quantiles.length; ) {
        const next = { ...settings, evidence, slack: slacks[s]!, quantile: quantiles[q]! };
        const tried = this.run(next);
        if (isBetter(tried, this.result, this.quantile, this.margin)) this.take(next, tried);
        if (this.holds(tried)) s++;
        else q++;
      }
    }
  }

  // The most instances, as long as that costs nothing.
  private fewerAtMost(): void {
    const least = 1 - (1 - this.quantile - this.margin) * LEFT;
    for (const most of MOST) {
      const next = { ...this.settings, most };
      const tried = this.run(next);
      const { gpusMean, gpusPeak } = this.result;
      const isWorse = tried.inTime < Math.min(least, this.result.inTime) || (this.result.sloMet && !tried.sloMet);
      if (isWorse || tried.gpusMean > gpusMean * 1.002) break;
      if (tried.gpusPeak < gpusPeak || tried.gpusMean < gpusMean) this.take(next, tried);
    }
  }

  // The most instances, as far as the SLO holds with about as many GPUs on average.
  private lowerPeak(keys: readonly (keyof Settings)[]): void {
    if (!keys.includes('most') || !this.holds(this.result)) return;
    const { most } = this.settings;
    const atMost = ABOUT_AS_MANY * this.result.gpusMean;
    for (const part of LOWER) {
      const next = { ...this.settings, most: most * part };
      const tried = this.run(next);
      if (!this.holds(tried)) break; // with fewer even more are late
      if (tried.gpusMean <= atMost && tried.gpusPeak <= this.result.gpusPeak) this.take(next, tried);
    }
  }
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
  const known = new Map<string, R>();
  const once = (settings: Settings): R => {
    const key = JSON.stringify(settings);
    const result = known.get(key) ?? run(settings);
    known.set(key, result);
    return result;
  };
  const edge = new Search(once, quantile, margin);
  edge.alongTheEdge(keys);
  const single = new Search(once, quantile, margin);
  single.oneByOne(keys);
  const { settings, result } = single.isPreferredTo(edge) ? single : edge;
  return { settings, result, runs: known.size };
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
      if (result.inTime < least || (defaults[i]!.sloMet && !result.sloMet)) return Number.POSITIVE_INFINITY;
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
