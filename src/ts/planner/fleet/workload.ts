// What fleets are built for: the requests, what they cost, and the SLO.
//
// Invariant: data only, the same for all fleets that are compared.
import { bareSeconds, type ModelCosts } from '../profiles/costs.js';
import type { Trace } from '../traces/trace.js';
import type { ClusterDelays, PoolSpec } from './fleet.js';

/** The requests, costs and SLO that fleets are built for. */
export interface Workload {
  readonly trace: Trace;
  /** By model of the trace. */
  readonly costs: readonly ModelCosts[];
  /** Models of one profile: `base`: other weights of the stages that are not shared; `adapter`: a LoRA of one base. */
  readonly variants: 'base' | 'adapter';
  readonly sloFactor: number;
  readonly quantile: number;
  /** The part of all requests that may be refused, 0 to 1; default 1: the quantile alone decides. */
  readonly maxRejected?: number | undefined;
  /** Between stages, in bytes a second. */
  readonly bytesPerSecond: number;
  readonly maxQueued: number;
  /** What a decision needs to be carried out, default {@link CLUSTER_DELAYS}. null: it takes effect at once. */
  readonly delays?: ClusterDelays | null | undefined;
  /** Of all pools, as `affinity` of {@link PoolSpec}; default true. */
  readonly affinity?: boolean | undefined;
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
