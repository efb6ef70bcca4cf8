// The fleets that are compared, from the costs of the models.
//
// Invariant: every duration and size is a figure of a profile. Fleets differ only in how GPUs are shared: all meet the
// same requests, the same costs and the same SLO.
import { adapterSeconds, bareSeconds, type ModelCosts, type StageCosts, taskSeconds } from '../profiles/costs.js';
import { DEFAULT_SCALE_POLICY, type ScalePolicy } from '../scaling.js';
import type { Trace } from '../traces/trace.js';
import { type ClusterDelays, delaysOf, type FleetSpec, type PoolSpec, type StepSpec } from './fleet.js';

/** Settings of an elastic fleet. */
export interface Settings {
  /** Of the scale policy. */
  readonly quantile: number;
  readonly evidence: number;
  /** In load times of the pool. */
  readonly downAfterLoads: number;
  readonly zeroAfterLoads: number;
  readonly zeroAfterGaps: number;
  /** How long others may overtake a request, as a share of the time it may wait. */
  readonly patience: number;
  /** The maximum of a pool's instances, relative to its peak of concurrent requests on unlimited GPUs. */
  readonly most: number;
  /** The wait that the policy aims for, relative to the wait that the SLO allows. */
  readonly slack: number;
  /** The longest stage's share of the time a request may wait; the other stages share the rest. */
  readonly waitShare: number;
}

/** {@link DEFAULT_SCALE_POLICY}; a `...Loads` of 0 keeps the absolute time of that policy. */
export const DEFAULT_SETTINGS: Settings = Object.freeze({
  quantile: DEFAULT_SCALE_POLICY.quantile,
  evidence: DEFAULT_SCALE_POLICY.evidence,
  downAfterLoads: 0,
  zeroAfterLoads: 0,
  zeroAfterGaps: DEFAULT_SCALE_POLICY.zeroAfterGaps,
  patience: 0.25,
  most: 2,
  slack: 1,
  waitShare: 0.7,
});

/** The requests, costs and SLO that fleets are built for. */
export interface Workload {
  readonly trace: Trace;
  /** By model of the trace. */
  readonly costs: readonly ModelCosts[];
  /** Models of one profile: `base`: other weights of the stages that are not shared; `adapter`: a LoRA of one base. */
  readonly variants: 'base' | 'adapter';
  readonly sloFactor: number;
  readonly quantile: number;
  /** Between stages, in bytes a second. */
  readonly bytesPerSecond: number;
  readonly maxQueued: number;
  /** What a decision needs to be carried out, default {@link CLUSTER_DELAYS}. null: it takes effect at once. */
  readonly delays?: ClusterDelays | null | undefined;
  /** One gateway before fleets that it can be before; default true. false: a queue for each pool everywhere. */
  readonly hasGateway?: boolean | undefined;
}

/** Seconds that each request takes alone. */
export function bareOf({ trace, costs }: Workload): Float64Array {
  const bareS = new Float64Array(trace.arrivalS.length);
  for (let i = 0; i < bareS.length; i++) {
    bareS[i] = bareSeconds(costs[trace.model[i]!]!, trace.units[i]!, trace.outputUnits[i]!);
  }
  return bareS;
}

const MAX_POLICY = 65_535;

function policyOf(settings: Settings, loadS: number, seconds: number, waitS: number, most: number): ScalePolicy {
  const { downAfterLoads, zeroAfterLoads } = settings;
  return {
    ...DEFAULT_SCALE_POLICY,
    quantile: settings.quantile,
    evidence: settings.evidence,
    zeroAfterGaps: settings.zeroAfterGaps,
    ...(downAfterLoads > 0 ? { downAfterMs: Math.round(downAfterLoads * loadS * 1000) } : {}),
    ...(zeroAfterLoads > 0 ? { zeroAfterMs: Math.round(zeroAfterLoads * loadS * 1000) } : {}),
    sloMs: Math.round((seconds + settings.slack * waitS) * 1000),
    max: Math.min(MAX_POLICY, Math.max(1, Math.round(settings.most * most))),
    min: 0,
  };
}

/** The peak of concurrent requests on unlimited GPUs; requests for which `secondsOf` is undefined do not count. */
export function peakConcurrency(trace: Trace, secondsOf: (request: number) => number | undefined): number {
  const { arrivalS } = trace;
  const starts = new Float64Array(arrivalS.length);
  const ends = new Float64Array(arrivalS.length);
  let count = 0;
  for (let i = 0; i < arrivalS.length; i++) {
    const seconds = secondsOf(i);
    if (seconds === undefined) continue;
    starts[count] = arrivalS[i]!;
    ends[count++] = arrivalS[i]! + seconds;
  }
  const sorted = ends.subarray(0, count).sort();
  let ended = 0;
  let peak = 0;
  for (let i = 0; i < count; i++) {
    while (ended < count && sorted[ended]! <= starts[i]!) ended++;
    peak = Math.max(peak, i + 1 - ended);
  }
  return peak;
}

/** How many models fit into an instance: each needs its weights, and all share the rest of the memory. */
export function residentOf(memoryGB: number, weightsGB: number, gpuGB: number): number {
  const rest = Math.max(0, memoryGB - weightsGB);
  return weightsGB <= 0 ? 1 : Math.max(1, Math.floor((gpuGB - rest) / weightsGB));
}

/** How much faster n tasks at once are than one after the other, by the batches of a profile. */
export function gainOf(batches: StageCosts['batches']): (tasks: number) => number {
  const [, alone] = batches[0]!;
  return (tasks) => {
    let [size, seconds] = batches[0]!;
    for (const [nextSize, nextSeconds] of batches) {
      if (nextSize > tasks) {
        const part = (tasks - size) / (nextSize - size);
        return (tasks * alone) / (seconds + part * (nextSeconds - seconds));
      }
      [size, seconds] = [nextSize, nextSeconds];
    }
    return (size * alone) / seconds;
  };
}

/** The batch size with the highest throughput. */
function bestBatch(batches: StageCosts['batches']): number {
  let [best, most] = [1, 0];
  for (const [size, seconds] of batches) if (size / seconds > most * 1.02) [best, most] = [size, size / seconds];
  return best;
}

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
            ? policyOf(
                settings,
                each.wholeLoadSeconds + this.processOf(each.wholeLoadsFromStart),
                bareS,
                this.waitOf(each),
                this.mostOf(`model ${model}`, new Set([model])),
              )
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
        prefetch,
        fixed: widths.length === 1 ? size : part,
        policy:
          size === undefined
            ? policyOf(settings, loadS + processS, bareS, waitS, this.mostOf(`width ${gpus}`, models))
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
   * @param options `sizes`: instances of each pool of {@link stagedPools}, by its key; without it they follow the load.
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
          ? `${each.profile}: ${[...packed].join(' + ')}`
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
      prefetch: false,
      fixed,
      policy:
        fixed === undefined
          ? policyOf(settings, loadS + processS, seconds, waitS, this.mostOf(key, users, names))
          : undefined,
      hintS: seconds,
    };
  }
}

function sum<T>(list: readonly T[], of: (item: T) => number): number {
  return list.reduce((total, item) => total + of(item), 0);
}

// How many whole pipelines fit into an instance.
function wholesIn(costs: readonly ModelCosts[]): number {
  const each = costs.map(({ stages, wholeMemoryGB, gpu }) => {
    const weightsGB = sum(stages, (stage) => stage.weightsGB);
    return residentOf(wholeMemoryGB, weightsGB, gpu.memoryGB);
  });
  return Math.min(...each);
}

function ownLoad(costs: readonly ModelCosts[]): number {
  return Math.max(...costs.map(({ stages }) => sum(stages, (stage) => (stage.shared ? 0 : stage.loadSeconds))));
}

/** Shared stages that fit on one GPU together: they take turns there. */
export function packable({ stages, gpu }: ModelCosts): Set<string> {
  const shared = stages.filter((stage) => stage.shared && stage.gpus === 1);
  const fits = sum(shared, ({ memoryGB }) => memoryGB) <= gpu.memoryGB;
  return fits && shared.length > 1 ? new Set(shared.map(({ name }) => name)) : new Set();
}
