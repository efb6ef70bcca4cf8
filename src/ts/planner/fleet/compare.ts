// Compares fleets under the same SLO, arrivals and costs.
//
// Invariant: each fleet is as good as a search makes it: fixed ones have the fewest instances found that hold the SLO
// on this trace, elastic ones the best settings found. A search asks policies rarely while nothing changes; what is
// reported does not.
import { adapterSeconds } from '../profiles/costs.js';
import { boundOf } from './bound.js';
import { type Compared, type FleetName, FLEETS } from './compared.js';
import type { FaultRates, FleetSpec } from './fleet.js';
import { FleetBuilder } from './fleet-builder.js';
import { behindGateway } from './gateway-choice.js';
import { packable } from './packing.js';
import type { SimulationResult } from './result.js';
import { DEFAULT_SETTINGS, type Settings } from './settings.js';
import { simulate } from './simulation.js';
import { groupsByModel, merged, sizesFor } from './sizing.js';
import { isBetter, TUNABLE, tune } from './tuning.js';
import { bareOf, peakConcurrency, type Workload } from './workload.js';

export interface CompareOptions {
  readonly fleets?: readonly FleetName[] | undefined;
  readonly seed?: number | undefined;
  readonly faults?: FaultRates | undefined;
  /** Settings of elastic fleets, from an earlier search. */
  readonly settings?: Partial<Record<FleetName, Settings>> | undefined;
  /** false: the shipped defaults. */
  readonly isTuned?: boolean | undefined;
  /** How far above the quantile the share in time must be during the search. */
  readonly margin?: number | undefined;
  /** Costs with more GPUs a stage, which `staged-full` may use. */
  readonly wider?: readonly Workload['costs'][] | undefined;
  readonly onProgress?: ((fleet: FleetName) => void) | undefined;
}

interface Simulated extends SimulationResult {
  readonly hasGateway: boolean;
}

/** Simulates fleets of a workload. */
export class Comparison {
  private readonly work: Workload;
  private readonly options: CompareOptions;
  private readonly bareS: Float64Array;
  private readonly builder: FleetBuilder;

  constructor(work: Workload, options: CompareOptions = {}) {
    this.work = work;
    this.options = options;
    this.bareS = bareOf(work);
    this.builder = new FleetBuilder(work);
  }

  run(): Compared[] {
    const { fleets = FLEETS, onProgress } = this.options;
    return fleets.map((name) => {
      onProgress?.(name);
      return this.one(name);
    });
  }

  private one(name: FleetName): Compared {
    switch (name) {
      case 'mono-fixed':
        return this.monoFixed();
      case 'mono-elastic':
        return this.elastic(name, 'whole pipelines, instances by model, down to none', (settings) =>
          this.builder.mono(name, undefined, settings),
        );
      case 'mono-shared':
        return this.monoShared();
      case 'mono-shared-elastic':
        return this.elastic(
          name,
          'any GPU serves any model and loads what differs; instances follow the load',
          (settings) => this.builder.monoShared(name, undefined, settings, { onlyDifferent: true }),
        );
      case 'staged-fixed':
        return this.stagedFixed();
      case 'staged-elastic':
        return this.elastic(
          name,
          'stages apart, shared where weights allow it; instances follow the load',
          (settings) => this.builder.staged(name, settings),
        );
      case 'staged-full':
        return this.stagedFull();
      case 'bound':
        return boundOf(this.work, this.bareS);
    }
  }

  private simulate(spec: FleetSpec, builder = this.builder): Simulated {
    return this.roughly({ ...spec, calmTickS: undefined }, builder);
  }

  // With fewer decisions where nothing changes: a search has many runs.
  private roughly(spec: FleetSpec, builder = this.builder): Simulated {
    const { seed = 1, faults } = this.options;
    const { trace, sloFactor, quantile, maxRejected } = builder.work;
    const fleet = behindGateway(spec, builder.work, faults);
    const slo = { bareS: this.bareS, sloFactor, quantile, maxRejected };
    const result = simulate({ fleet, trace, ...slo, seed, faults });
    return { ...result, hasGateway: fleet.hasGateway === true };
  }

  private elastic(name: FleetName, how: string, build: (settings: Settings) => FleetSpec): Compared {
    const { isTuned = true, settings: known, margin = 0.004 } = this.options;
    const given = known?.[name] ?? (isTuned ? undefined : DEFAULT_SETTINGS);
    if (given !== undefined) return { ...this.simulate(build(given)), name, settings: given, how };
    // Settings without effect on this kind of fleet are not searched.
    const keys = TUNABLE.filter((key) => {
      if (key === 'patience') return name !== 'mono-elastic';
      return key !== 'waitShare' || name.startsWith('staged');
    });
    const { quantile } = this.work;
    const of = (each: Settings): Compared => ({ ...this.simulate(build(each)), name, settings: each, how });
    const defaults = of(DEFAULT_SETTINGS);
    const rough = of(tune((each) => this.roughly(build(each)), quantile, margin, keys).settings);
    if (!isBetter(defaults, rough, quantile, 0)) return rough;
    // Settings near the edge may hold the SLO only where a fleet decides seldom. The longer search knows better.
    const exact = of(tune((each) => this.simulate(build(each)), quantile, margin, keys).settings);
    return isBetter(defaults, exact, quantile, 0) ? defaults : exact;
  }

  private adapterOf(model: number): number {
    return adapterSeconds(this.work.costs[model]!.stages);
  }

  private monoFixed(): Compared {
    const { work, bareS } = this;
    const bound = (bare: number) => work.sloFactor * bare;
    const groups = groupsByModel(
      work,
      () => true,
      (model) => this.adapterOf(model),
      bareS,
      bound,
    );
    const weights = work.costs.map(({ wholeGpus }) => wholeGpus);
    // The sizes assume first come, first served; the real queue is fair to tenants, which makes a few requests late.
    let result: Simulated | undefined;
    for (const part of [1, 0.95, 0.85, 0.7, 0.5, 0]) {
      const sizes = sizesFor(groups, weights, part * (1 - work.quantile));
      result = this.simulate(this.builder.mono('mono-fixed', sizes, DEFAULT_SETTINGS));
      if (result.sloMet) break;
    }
    const how = 'whole pipelines, a fixed number by model, the fewest that hold the SLO over all models';
    return { ...result!, name: 'mono-fixed', settings: undefined, how };
  }

  private monoShared(): Compared {
    const { work } = this;
    const build = (size: number, prefetch: boolean) =>
      this.builder.monoShared('mono-shared', size, DEFAULT_SETTINGS, { prefetch });
    const pools = new Set(work.costs.map(({ wholeGpus }) => wholeGpus)).size;
    const peak = peakConcurrency(work.trace, (i) => this.bareS[i]!);
    const smallest = (prefetch: boolean) => this.fewest(pools, 2 * peak + work.costs.length, (n) => build(n, prefetch));
    const [plain, ahead] = [smallest(false), smallest(true)];
    const isAhead = isBetter(ahead, plain, work.quantile, 0);
    const how = `a fixed number of GPUs that serve any model and swap whole pipelines, the one used longest ago first${
      isAhead ? ', with prefetch' : '; prefetch made it no smaller'
    }`;
    return { ...(isAhead ? ahead : plain), name: 'mono-shared', settings: undefined, how };
  }

  // The smallest fleet that holds the SLO.
  private fewest(least: number, most: number, build: (size: number) => FleetSpec): Simulated {
    let [low, high] = [least, most];
    let best: Simulated | undefined;
    while (low < high) {
      const middle = (low + high) >> 1;
      const result = this.simulate(build(middle));
      if (result.sloMet) [high, best] = [middle, result];
      else low = middle + 1;
    }
    return best !== undefined && best.gpusPeak === high ? best : this.simulate(build(high));
  }

  private stagedFixed(): Compared {
    const { work, bareS } = this;
    const { costs, trace, sloFactor, quantile } = work;
    let result: Simulated | undefined;
    // The stages share the time that a request may wait; the rest of the search is by simulation of the whole.
    for (const part of [0.9, 0.8, 0.6, 0.4, 0.2]) {
      const sizes = new Map<string, number>();
      const bound = (share: number) => (bare: number, ownS: number) => ownS + share * (sloFactor - 1) * bare;
      const own = groupsByModel(
        work,
        (_, shared) => !shared,
        (m) => this.adapterOf(m),
        bareS,
        bound(part),
      );
      const widths = costs.map(({ stages }) => Math.max(1, ...stages.filter((s) => !s.shared).map((s) => s.gpus)));
      const counts = sizesFor(own, widths, (1 - quantile) * part);
      costs.forEach((each, model) => {
        for (const stage of each.stages) {
          if (!stage.shared) sizes.set(`${trace.models[model]}: ${stage.name}`, counts[model]!);
        }
      });
      for (const each of new Map(costs.map((one) => [one.profile, one])).values()) {
        for (const stage of each.stages.filter(({ shared }) => shared)) {
          const groups = groupsByModel(
            work,
            (name) => name === stage.name,
            () => 0,
            bareS,
            bound((1 - part) / 2),
          ).filter((_, model) => costs[model]!.profile === each.profile);
          sizes.set(`${each.profile}: ${stage.name}`, sizesFor([merged(groups)], [1], 0.002)[0]!);
        }
      }
      result = this.simulate(this.builder.staged('staged-fixed', DEFAULT_SETTINGS, { sizes, perModel: true }));
      if (result.sloMet) break;
    }
    const how = 'a fixed number of each stage; encoders and decoders are shared, the others by model';
    return { ...result!, name: 'staged-fixed', settings: undefined, how };
  }

  private stagedFull(): Compared {
    const { work, options } = this;
    const words = (wider: boolean) => {
      const packs = work.costs.some((each) => packable(each).size > 0) ? ['small stages share GPUs'] : [];
      const batches = work.costs.some(({ stages }) => stages.some((s) => s.batches.length > 1)) ? ['batches'] : [];
      const more = [...packs, ...batches, ...(wider ? ['more GPUs a task'] : []), 'as many models in memory as fit'];
      return `as staged-elastic, with what the profile has figures of: ${more.join(', ')}`;
    };
    const best = this.elastic('staged-full', words(false), (s) =>
      this.builder.staged('staged-full', s, { isFull: true }),
    );
    let chosen = best;
    for (const costs of options.wider ?? []) {
      // Bare times stay those of the narrow stages: the SLO must not move.
      const builder = new FleetBuilder({ ...work, costs });
      const build = (settings: Settings) => builder.staged('staged-full', settings, { isFull: true });
      const settings = options.settings?.['staged-full'] ?? best.settings!;
      const result = this.simulate(build(settings), builder);
      const next: Compared = { ...result, name: 'staged-full', settings, how: words(true) };
      if (isBetter(next, chosen, work.quantile, 0)) chosen = next;
    }
    return chosen;
  }
}
