// A plan, and the question that it answers.
//
// Invariant: data only.
import type { GpuKind } from '../profiles/costs.js';
import type { Profile } from '../profiles/profile.js';
import type { Trace } from '../traces/trace.js';
import type { Compared, FleetName } from './compared.js';
import type { ClusterDelays, FaultRates } from './fleet.js';
import type { Ratio } from './ratios.js';
import type { Settings } from './settings.js';
import type { Workload } from './workload.js';

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
