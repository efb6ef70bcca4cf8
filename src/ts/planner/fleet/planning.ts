// The plan: how many GPUs a workload needs, of which stage, when, and how certain that is.
//
// Invariant: settings are searched for on the first seed, and the intervals come from the other seeds. A trace from a
// file is one sample: there is no interval, and the plan says so. The plan lists its assumptions and what it does not
// know.
import { checkSpec } from '../../pipeline/spec.js';
import { place } from '../placement.js';
import { assumptionsOf, costsOf, type GpuKind, gpuCountsOf, type ModelCosts } from '../profiles/costs.js';
import type { Profile } from '../profiles/profile.js';
import { stretched, type Trace } from '../traces/trace.js';
import { bareOf, DEFAULT_SETTINGS, type Settings, type Workload } from './builders.js';
import {
  type Compared,
  Comparison,
  type CompareOptions,
  type FleetName,
  FLEETS,
  type Ratio,
  ratiosOf,
} from './compare.js';
import { type ClusterDelays, delaysOf, type FaultRates, NODE_GPUS } from './fleet.js';

/** The question that a plan answers. */
export interface PlanInput {
  /** Makes the trace of a seed; a trace from a file is the same for each. */
  readonly traceOf: (seed: number) => Trace;
  readonly isSample: boolean;
  /** By model of the trace. */
  readonly profilesOf: (trace: Trace) => readonly Profile[];
  readonly gpu: GpuKind;
  readonly variants: Workload['variants'];
  readonly sloFactor: number;
  readonly quantile: number;
  readonly maxRejected: number;
  /** Settings are searched for on the first; the others give the intervals. */
  readonly seeds: readonly number[];
  readonly fleets?: readonly FleetName[] | undefined;
  readonly bytesPerSecond: number;
  readonly maxQueued: number;
  readonly faults?: FaultRates | undefined;
  /** As {@link Workload.delays} and {@link Workload.hasGateway}. */
  readonly delays?: ClusterDelays | null | undefined;
  readonly hasGateway?: boolean | undefined;
  readonly onStep?: ((words: string) => void) | undefined;
}

/** Lowest and highest over the seeds that were not searched on. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Instances of one pool of the plan. */
export interface PlannedPool {
  readonly name: string;
  readonly gpusEach: number;
  readonly instancesMean: number;
  readonly instancesPeak: number;
  /** By hour of the trace. */
  readonly byHour: readonly { readonly mean: number; readonly peak: number }[];
  readonly memoryGB: number;
}

/** How the plan changes with one input. */
export interface Sensitivity {
  readonly input: string;
  readonly change: string;
  readonly gpusMean: number;
  /** Over the plan's own. */
  readonly ratio: number;
  readonly inTime: number;
  readonly sloMet: boolean;
}

/** A plan. */
export interface PlanResult {
  readonly trace: {
    readonly name: string;
    readonly requests: number;
    readonly models: number;
    readonly hours: number;
    readonly notes: readonly string[];
  };
  readonly profiles: readonly string[];
  readonly gpu: GpuKind;
  readonly variants: Workload['variants'];
  readonly slo: { readonly quantile: number; readonly factor: number; readonly maxRejected: number };
  readonly bareSecondsMean: number;
  /** What a cluster takes to carry out a decision; null: nothing. */
  readonly delays: ClusterDelays | null;
  readonly comparison: readonly Compared[];
  readonly ratios: readonly Ratio[];
  /** The fleet with the fewest GPUs on average that holds the SLO and whose instances fit on the GPU. */
  readonly chosen: {
    readonly fleet: FleetName;
    readonly settings: Settings | undefined;
    readonly gpusMean: number;
    readonly gpusP99: number;
    readonly gpusPeak: number;
    /** GPU hours a day, and their cost if a price was given. */
    readonly gpuHoursADay: number;
    readonly costADay: number | undefined;
    readonly sloMet: boolean;
    /** One gateway is before all stages; false: each pool has a queue. */
    readonly hasGateway: boolean;
    readonly pools: readonly PlannedPool[];
  };
  /** The same fleet with the shipped default settings. */
  readonly withDefaults: { readonly gpusMean: number; readonly inTime: number; readonly sloMet: boolean } | undefined;
  readonly intervals:
    | {
        readonly seeds: number;
        readonly gpusMean: Interval;
        readonly gpusPeak: Interval;
        readonly inTime: Interval;
        readonly rejected: Interval;
      }
    | undefined;
  readonly sensitivity: readonly Sensitivity[];
  readonly memory: readonly { readonly pool: string; readonly needsGB: number; readonly hasGB: number }[];
  /** The instances of the peak on nodes of 8 GPUs, by the shipped placement. */
  readonly placement: { readonly nodes: number; readonly placed: number; readonly unplaced: readonly string[] };
  /** Assumptions that stand in for figures that the profiles lack. */
  readonly assumed: readonly string[];
  readonly unknown: readonly string[];
}

const CANDIDATES: readonly FleetName[] = ['mono-shared', 'mono-shared-elastic', 'staged-elastic', 'staged-full'];

/** Makes a plan. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT where a figure is missing or a stage fits no GPU */
export function makePlan(input: PlanInput): PlanResult {
  const { seeds, quantile, gpu, onStep } = input;
  const trace = input.traceOf(seeds[0]!);
  const profiles = input.profilesOf(trace);
  const work = workOf(input, trace, profiles);
  const fleets = input.fleets ?? FLEETS;
  const options: CompareOptions = {
    fleets,
    seed: seeds[0],
    faults: input.faults,
    wider: widerOf(profiles, gpu),
    onProgress: (fleet) => onStep?.(`simulating ${fleet}`),
  };
  const comparison = new Comparison(work, options).run();
  const chosen = choose(comparison, input);
  onStep?.('other seeds, and how much each input matters');
  const again = (other: Workload, settings: Settings | undefined, seed: number): Compared => {
    const known = settings === undefined ? {} : { [chosen.name]: settings };
    const run = { fleets: [chosen.name], seed, faults: input.faults, settings: known, wider: [] as const };
    return new Comparison(other, run).run()[0]!;
  };
  const others = input.isSample
    ? []
    : seeds.slice(1).map((seed) => {
        const own = input.traceOf(seed);
        return again(workOf(input, own, input.profilesOf(own)), chosen.settings, seed);
      });
  const withDefaults = chosen.settings === undefined ? undefined : again(work, DEFAULT_SETTINGS, seeds[0]!);
  const bareS = bareOf(work);
  const days = trace.lengthS / 86_400;
  const gpuHoursADay = chosen.gpuHours / days;
  return {
    trace: {
      name: trace.name,
      requests: trace.arrivalS.length,
      models: trace.models.length,
      hours: trace.lengthS / 3600,
      notes: trace.notes,
    },
    profiles: [...new Set(profiles.map(({ id }) => id))],
    gpu,
    variants: input.variants,
    slo: { quantile, factor: input.sloFactor, maxRejected: input.maxRejected },
    bareSecondsMean: bareS.reduce((a, b) => a + b, 0) / bareS.length,
    delays: delaysOf(input),
    comparison,
    ratios: ratiosOf(comparison),
    chosen: {
      fleet: chosen.name,
      settings: chosen.settings,
      gpusMean: chosen.gpusMean,
      gpusP99: chosen.gpusP99,
      gpusPeak: chosen.gpusPeak,
      gpuHoursADay,
      costADay: gpu.price === undefined ? undefined : gpuHoursADay * gpu.price,
      sloMet: chosen.sloMet && chosen.rejected <= input.maxRejected,
      hasGateway: chosen.hasGateway,
      pools: chosen.pools.map((pool) => ({
        name: pool.name,
        gpusEach: pool.gpus,
        instancesMean: pool.gpusMean / pool.gpus,
        instancesPeak: pool.gpusPeak / pool.gpus,
        byHour: pool.hours.map(({ mean, peak }) => ({ mean: mean / pool.gpus, peak: peak / pool.gpus })),
        memoryGB: pool.memoryGB,
      })),
    },
    withDefaults:
      withDefaults === undefined
        ? undefined
        : { gpusMean: withDefaults.gpusMean, inTime: withDefaults.inTime, sloMet: withDefaults.sloMet },
    intervals: others.length === 0 ? undefined : intervalsOf(others),
    sensitivity: sensitivityOf(input, trace, profiles, chosen, (other) => again(other, chosen.settings, seeds[0]!)),
    memory: chosen.pools.map(({ name, memoryGB }) => ({ pool: name, needsGB: memoryGB, hasGB: gpu.memoryGB })),
    placement: placementOf(chosen, gpu),
    assumed: assumedOf(profiles),
    unknown: unknownOf(input, trace, profiles, chosen),
  };
}

/** Factors on the inputs of a workload; default 1. */
interface Factors {
  readonly seconds?: number;
  /** Of load and switch times. */
  readonly loads?: number;
  readonly slo?: number;
  readonly delays?: null;
}

function workOf(input: PlanInput, trace: Trace, profiles: readonly Profile[], factors: Factors = {}): Workload {
  const { seconds = 1, loads = 1, slo = 1 } = factors;
  const costs = eachProfile(profiles, (profile) => scaled(costsOf(profile, input.gpu), seconds, loads));
  const { variants, quantile, bytesPerSecond, maxQueued, hasGateway } = input;
  const sloFactor = Math.max(1, input.sloFactor * slo);
  const delays = factors.delays === undefined ? delaysOf(input) : factors.delays;
  return { trace, costs, variants, sloFactor, quantile, bytesPerSecond, maxQueued, delays, hasGateway };
}

// By model of the trace; computed once for a profile that several models have.
function eachProfile<T>(profiles: readonly Profile[], compute: (profile: Profile) => T): T[] {
  const known = new Map<string, T>();
  for (const profile of profiles) if (!known.has(profile.id)) known.set(profile.id, compute(profile));
  return profiles.map(({ id }) => known.get(id)!);
}

function scaled(costs: ModelCosts, seconds: number, loads: number): ModelCosts {
  return {
    ...costs,
    wholeLoadSeconds: costs.wholeLoadSeconds * loads,
    stages: costs.stages.map((stage) => ({
      ...stage,
      seconds: stage.seconds * seconds,
      batches: stage.batches.map(([size, s]) => [size, s * seconds] as const),
      loadSeconds: stage.loadSeconds * loads,
      switchSeconds: stage.switchSeconds * loads,
    })),
  };
}

// All models with the most GPUs a task that the profile has figures of, where that is more than the fewest.
function widerOf(profiles: readonly Profile[], gpu: GpuKind): ModelCosts[][] {
  const countsOf = (profile: Profile) => {
    return profile.stages.map(({ name }) => [name, gpuCountsOf(profile, name, gpu.kind)] as const);
  };
  if (!profiles.some((profile) => countsOf(profile).some(([, counts]) => counts.length > 1))) return [];
  const widest = (profile: Profile) => {
    const gpus = Object.fromEntries(countsOf(profile).map(([name, counts]) => [name, counts.at(-1)!]));
    return costsOf(profile, gpu, { gpus });
  };
  return [eachProfile(profiles, widest)];
}

function choose(comparison: readonly Compared[], { maxRejected, gpu }: PlanInput): Compared {
  const fleets = comparison.filter(({ name }) => name !== 'bound');
  const fitting = fleets.filter(({ pools }) => pools.every((pool) => pool.memoryGB <= gpu.memoryGB));
  const able = fitting.filter(({ name }) => CANDIDATES.includes(name));
  // If no fleet fits, `placement.unplaced` of the plan says so.
  const list = [able, fitting, fleets].find(({ length }) => length > 0)!;
  const good = list.filter((each) => each.sloMet && each.rejected <= maxRejected);
  if (good.length > 0) return good.reduce((a, b) => (b.gpusMean < a.gpusMean ? b : a));
  return list.reduce((a, b) => (b.inTime > a.inTime ? b : a));
}

function intervalsOf(results: readonly Compared[]): NonNullable<PlanResult['intervals']> {
  const of = (key: 'gpusMean' | 'gpusPeak' | 'inTime' | 'rejected'): Interval => {
    const values = results.map((result) => result[key]);
    return { low: Math.min(...values), high: Math.max(...values) };
  };
  return {
    seeds: results.length,
    gpusMean: of('gpusMean'),
    gpusPeak: of('gpusPeak'),
    inTime: of('inTime'),
    rejected: of('rejected'),
  };
}

function sensitivityOf(
  input: PlanInput,
  trace: Trace,
  profiles: readonly Profile[],
  chosen: Compared,
  run: (work: Workload) => Compared,
): Sensitivity[] {
  const cases: [string, string, Workload][] = [];
  for (const [change, factor] of [
    ['-20 %', 0.8],
    ['+20 %', 1.2],
  ] as const) {
    cases.push(['requests', change, workOf(input, stretched(trace, 1 / factor), profiles)]);
    cases.push(['seconds of a task', change, workOf(input, trace, profiles, { seconds: factor })]);
    cases.push(['load and switch times', change, workOf(input, trace, profiles, { loads: factor })]);
    cases.push(['SLO', change, workOf(input, trace, profiles, { slo: factor })]);
  }
  if (delaysOf(input) !== null) {
    cases.push(['delays of a cluster', 'none', workOf(input, trace, profiles, { delays: null })]);
  }
  return cases.map(([name, change, work]) => {
    const { gpusMean, inTime, sloMet } = run(work);
    return { input: name, change, gpusMean, ratio: gpusMean / chosen.gpusMean, inTime, sloMet };
  });
}

/** Instances of a stage are placed in groups of this size: a workflow may have no more. */
const PLACED_AT_ONCE = 64;

function placementOf(chosen: Compared, gpu: GpuKind): PlanResult['placement'] {
  const nodes = Math.max(1, Math.ceil((chosen.gpusPeak * 1.05) / NODE_GPUS));
  const memoryBytes = Math.round(gpu.memoryGB * 1e9);
  const gpus = Array.from({ length: NODE_GPUS }, () => ({ memoryBytes }));
  const tooLarge = chosen.pools.filter(({ memoryGB }) => memoryGB > gpu.memoryGB);
  const workflows = chosen.pools.flatMap((pool, i) => {
    if (tooLarge.includes(pool)) return [];
    const peak = Math.round(pool.gpusPeak / pool.gpus);
    const spec = checkSpec({ name: `pool-${i}`, stages: [{ name: 'instance', resources: { gpus: pool.gpus } }] });
    const parts = Math.ceil(peak / PLACED_AT_ONCE);
    return Array.from({ length: parts }, (_, part) => {
      const wanted = [Math.min(PLACED_AT_ONCE, peak - part * PLACED_AT_ONCE)];
      return { id: `pool-${i}-${part}`, spec, wanted };
    });
  });
  const names = Array.from({ length: nodes }, (_, i) => ({ name: `n${i}`, gpus }));
  const { placements, unplaced } = place({ workflows, nodes: names });
  const reasons = tooLarge.map(({ name, memoryGB }) => {
    return `${name} needs ${memoryGB} GB of GPU memory; a ${gpu.kind} has ${gpu.memoryGB}`;
  });
  return { nodes, placed: placements.length, unplaced: [...reasons, ...unplaced.map(({ reason }) => reason)] };
}

function distinct(profiles: readonly Profile[]): Profile[] {
  return [...new Map(profiles.map((each) => [each.id, each])).values()];
}

/** Assumptions that stand in for figures that the profiles lack. */
export function assumedOf(profiles: readonly Profile[]): string[] {
  return distinct(profiles).flatMap((profile) => assumptionsOf(profile).map((words) => `${profile.id}, ${words}`));
}

function unknownOf(input: PlanInput, trace: Trace, profiles: readonly Profile[], chosen: Compared): string[] {
  const list: string[] = [];
  if (input.isSample) list.push('the trace is one sample: there is no interval over seeds');
  if (input.gpu.price === undefined) list.push('no price was given: there is no cost');
  if (trace.hasAdapter.every((has) => has === 0)) list.push('the trace names no adapters: none is switched');
  for (const profile of distinct(profiles)) {
    const kinds = profile.stages.flatMap((stage) => stage.seconds).filter(({ gpu }) => gpu === input.gpu.kind);
    if (!kinds.some(({ kind }) => kind === 'measured')) {
      list.push(`${profile.id}: no figure was measured by this project; they are published or derived`);
    }
  }
  if (!chosen.hasGateway) {
    list.push(
      `${chosen.name} is simulated with a queue for each stage; behind one gateway requests wait a little longer`,
    );
  }
  list.push('tasks take exactly what the profile says; networks, disks and hosts never hold them up');
  list.push('all instances have their peaks in GPUs that somebody can lend and take back within the load time');
  return list;
}
