// The fleets that are compared, from the costs of the models.
//
// Invariant: every duration and size is a figure of a profile. Fleets differ only in how GPUs are shared: all meet the
// same requests, the same costs and the same SLO.
import { adapterSeconds, bareSeconds, type ModelCosts, type StageCosts, taskSeconds } from '../profiles/costs.js';
import { bestBatch, gainOf } from './batches.js';
import { type ClusterDelays, delaysOf, type FleetSpec, type PoolSpec, type StepSpec } from './fleet.js';
import { PACKED, packable, residentOf, wholesIn } from './packing.js';
import { policyOf, type Settings } from './settings.js';
import { peakConcurrency, type Workload } from './workload.js';

/** Builds fleets of one workload. */
export class FleetBuilder {
  readonly work: Workload;
  private readonly families: Uint16Array;
  private readonly meanUnits: { input: number; output: number };
  private readonly peaks = new Map<string, number>();
  /** undefined: none. */
  private readonly delays: ClusterDelays | undefined;
  private readonly tickS: number;
  private readonly calmTickS: number;

  constructor(work: Workload) {
    this.work = work;
    const { costs, trace } = work;
    const names = [...new Set(costs.map(({ profile }) => profile))];
    this.families = Uint16Array.from(costs, ({ profile }) => names.indexOf(profile));
    const mean = (list: Float32Array) => list.reduce((a, b) => a + b, 0) / list.length;
    this.meanUnits = { input: mean(trace.units), output: mean(trace.outputUnits) };
    this.delays = delaysOf(work) ?? undefined;
    // In a search, and without delays, a decision may be late by a part of the shortest request.
    const shortest = Math.min(...costs.map((each) => this.meanBare(each)));
    const roughS = Math.min(10, Math.max(1, shortest / 20));
    this.tickS = this.delays?.tickS ?? roughS;
    this.calmTickS = Math.max(this.tickS, roughS);
  }

  // What a process takes before it loads, where the load time is without it.
  private processOf(isPartOfLoad: boolean): number {
    return isPartOfLoad ? 0 : (this.delays?.processS ?? 0);
  }

  private meanBare(costs: ModelCosts): number {
    return bareSeconds(costs, this.meanUnits.input, this.meanUnits.output);
  }

  private meanSeconds(stage: StageCosts): number {
    return taskSeconds(stage, this.meanUnits.input, this.meanUnits.output);
  }

  private waitOf(costs: ModelCosts): number {
    return Math.max(0, this.work.sloFactor - 1) * this.meanBare(costs);
  }

  private fleet(name: string, pools: PoolSpec[], routes: StepSpec[][]): FleetSpec {
    const { tickS, calmTickS, delays } = this;
    return { name, pools, routes, maxQueued: this.work.maxQueued, tickS, calmTickS, delays };
  }

  /** The peak of concurrent requests of some models at some stages, on unlimited GPUs. */
  private mostOf(key: string, models: ReadonlySet<number>, stages?: ReadonlySet<string>): number {
    let peak = this.peaks.get(key);
    if (peak === undefined) {
      const { trace, costs } = this.work;
      peak = peakConcurrency(trace, (i) => {
        const model = trace.model[i]!;
        if (!models.has(model)) return undefined;
        let seconds = 0;
        for (const stage of costs[model]!.stages) {
          if (stages !== undefined && !stages.has(stage.name)) continue;
          seconds += taskSeconds(stage, trace.units[i]!, trace.outputUnits[i]!);
        }
        return seconds;
      });
      this.peaks.set(key, peak);
    }
    return peak;
  }

  // A whole pipeline is one step for each kind of units that its stages grow with; each step queues once.
  private wholeStep(pool: number, costs: ModelCosts): StepSpec[] {
    const steps = new Map<StepSpec['units'], number>();
    for (const { units, seconds } of costs.stages) steps.set(units, (steps.get(units) ?? 0) + seconds);
    return [...steps].map(([units, seconds]) => ({ pool, units, seconds, transferS: 0 }));
  }

  /**
   * Each model has its own GPUs, which hold the whole pipeline.
   *
   * @param sizes instances by model; undefined: they follow the load
   */
  mono(name: string, sizes: readonly number[] | undefined, settings: Settings): FleetSpec {
    const { costs } = this.work;
    const pools = costs.map((each, model): PoolSpec => {
      const bareS = this.meanBare(each);
      return {
        name: this.work.trace.models[model]!,
        gpus: each.wholeGpus,
        memoryGB: each.wholeMemoryGB,
        loadS: each.wholeLoadSeconds,
        processS: this.processOf(each.wholeLoadsFromStart),
        slots: 1,
        resident: 0,
        swapS: 0,
        adapterS: adapterSeconds(each.stages),
        patienceS: 0,
        prefetch: false,
        fixed: sizes?.[model],
        policy:
          sizes === undefined
            ? policyOf(settings, {
                loadS: each.wholeLoadSeconds + this.processOf(each.wholeLoadsFromStart),
                seconds: bareS,
                waitS: this.waitOf(each),
                most: this.mostOf(`model ${model}`, new Set([model])),
              })
            : undefined,
        hintS: bareS,
      };
    });
    return this.fleet(
      name,
      pools,
      costs.map((each, model) => this.wholeStep(model, each)),
    );
  }

  /**
   * Every GPU serves any model and swaps whole pipelines.
   *
   * @param size instances; undefined: they follow the load
   * @param onlyDifferent a swap loads only the weights in which the models differ, as an engine that knows stages does
   */
  monoShared(
    name: string,
    size: number | undefined,
    settings: Settings,
    { prefetch = false, onlyDifferent = false } = {},
  ): FleetSpec {
    const { costs, variants } = this.work;
    // Instances of one width are one pool: the widest that a model needs.
    const widths = [...new Set(costs.map(({ wholeGpus }) => wholeGpus))].sort((a, b) => a - b);
    const pools = widths.map((gpus): PoolSpec => {
      const own = costs.filter((each) => each.wholeGpus === gpus);
      const models = new Set(costs.flatMap((each, i) => (each.wholeGpus === gpus ? [i] : [])));
      const loadS = Math.max(...own.map(({ wholeLoadSeconds }) => wholeLoadSeconds));
      const processS = this.processOf(own.every(({ wholeLoadsFromStart }) => wholeLoadsFromStart));
      const bareS = own.reduce((sum, each) => sum + this.meanBare(each), 0) / own.length;
      const waitS = Math.min(...own.map((each) => this.waitOf(each)));
      const adapterS = Math.max(...own.map(({ stages }) => adapterSeconds(stages)));
      const part = size === undefined ? undefined : Math.max(1, Math.round((size * own.length) / costs.length));
      return {
        name: widths.length === 1 ? 'any model' : `any model, ${gpus} GPUs`,
        gpus,
        memoryGB: Math.max(...own.map(({ wholeMemoryGB }) => wholeMemoryGB)),
        loadS,
        processS,
        slots: 1,
        resident: own.length === 1 ? 0 : wholesIn(own),
        swapS: variants === 'adapter' ? adapterS : onlyDifferent ? ownLoad(own) : loadS,
        families: variants === 'adapter' || onlyDifferent ? this.families : undefined,
        adapterS,
        patienceS: settings.patience * waitS,
        affinity: this.work.affinity,
        prefetch,
        fixed: widths.length === 1 ? size : part,
        policy:
          size === undefined
            ? policyOf(settings, {
                loadS: loadS + processS,
                seconds: bareS,
                waitS,
                most: this.mostOf(`width ${gpus}`, models),
              })
            : undefined,
        hintS: bareS,
      };
    });
    return this.fleet(
      name,
      pools,
      costs.map((each) => this.wholeStep(widths.indexOf(each.wholeGpus), each)),
    );
  }

  /**
   * Stages apart. Stages whose weights are the same for all variants are shared by them.
   *
   * @param options `sizes`: instances of each pool, by its name; without it they follow the load.
   *   `perModel`: a pool for each model where stages have weights of their own. `isFull`: batches, several variants in
   *   the memory of one GPU, and light stages packed together, where profiles say that these help
   */
  staged(
    name: string,
    settings: Settings,
    options: {
      readonly sizes?: ReadonlyMap<string, number>;
      readonly perModel?: boolean;
      readonly isFull?: boolean;
    } = {},
  ): FleetSpec {
    const { costs, trace, bytesPerSecond } = this.work;
    const pools: PoolSpec[] = [];
    const byKey = new Map<string, number>();
    const routes = costs.map((each, model) => {
      const packed = options.isFull === true ? packable(each) : new Set<string>();
      return each.stages.map((stage): StepSpec => {
        const own = !stage.shared && options.perModel === true;
        const isPacked = packed.has(stage.name);
        const key = isPacked
          ? `${each.profile}: ${[...packed].join(PACKED)}`
          : own
            ? `${trace.models[model]}: ${stage.name}`
            : `${each.profile}: ${stage.name}`;
        let pool = byKey.get(key);
        if (pool === undefined) {
          pool = pools.length;
          byKey.set(key, pool);
          pools.push(this.stagePool(key, model, stage, isPacked ? packed : undefined, own, settings, options));
        }
        const transferS = bytesPerSecond > 0 ? (stage.outputBytes * this.meanUnits.input) / bytesPerSecond : 0;
        return { pool, seconds: stage.seconds, units: stage.units, transferS };
      });
    });
    return this.fleet(name, pools, routes);
  }

  private stagePool(
    key: string,
    model: number,
    stage: StageCosts,
    packed: ReadonlySet<string> | undefined,
    own: boolean,
    settings: Settings,
    { sizes, isFull = false }: { readonly sizes?: ReadonlyMap<string, number>; readonly isFull?: boolean },
  ): PoolSpec {
    const { costs, variants } = this.work;
    const each = costs[model]!;
    const stages = packed === undefined ? [stage] : each.stages.filter(({ name }) => packed.has(name));
    const loadS = sum(stages, ({ loadSeconds }) => loadSeconds);
    const seconds = sum(stages, (part) => this.meanSeconds(part)) / stages.length;
    const longest = each.stages.reduce((a, b) => (this.meanSeconds(b) > this.meanSeconds(a) ? b : a));
    const others = Math.max(1, each.stages.length - 1);
    const share =
      each.stages.length === 1 ? 1 : stage === longest ? settings.waitShare : (1 - settings.waitShare) / others;
    const waitS = share * this.waitOf(each);
    const users = own
      ? new Set([model])
      : new Set(costs.flatMap((other, i) => (other.profile === each.profile ? [i] : [])));
    const names = new Set(stages.map(({ name }) => name));
    const slots = isFull && packed === undefined ? bestBatch(stage.batches) : 1;
    const swaps = !stage.shared && !own && users.size > 1;
    const processS = this.processOf(stages.every(({ loadsFromStart }) => loadsFromStart));
    const fixed = sizes?.get(key);
    return {
      name: key,
      gpus: stage.gpus,
      memoryGB: sum(stages, ({ memoryGB }) => memoryGB),
      loadS,
      processS,
      slots,
      gain: slots > 1 ? gainOf(stage.batches) : undefined,
      resident: swaps ? (isFull ? residentOf(stage.memoryGB, stage.weightsGB, each.gpu.memoryGB) : 1) : 0,
      swapS: variants === 'adapter' ? stage.switchSeconds : stage.loadSeconds,
      adapterS: stage.shared ? 0 : stage.switchSeconds,
      patienceS: settings.patience * waitS,
      affinity: this.work.affinity,
      prefetch: false,
      fixed,
      policy:
        fixed === undefined
          ? policyOf(settings, { loadS: loadS + processS, seconds, waitS, most: this.mostOf(key, users, names) })
          : undefined,
      hintS: seconds,
    };
  }
}

function sum<T>(list: readonly T[], of: (item: T) => number): number {
  return list.reduce((total, item) => total + of(item), 0);
}

// What the models do not have in common, of the one with the most of it.
function ownLoad(costs: readonly ModelCosts[]): number {
  return Math.max(...costs.map(({ stages }) => sum(stages, (stage) => (stage.shared ? 0 : stage.loadSeconds))));
}
