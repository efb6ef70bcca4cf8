// The result of a simulation.
//
// Invariant: every request counts; those refused, and those that ended at their deadline, are in no latency.
import type { HeldHour, HeldSummary } from './held.js';
import type { Pool } from './pool.js';
import type { SimulationInput } from './simulation.js';
import type { Tally } from './tally.js';

/** GPUs of one pool. */
export interface PoolResult {
  readonly name: string;
  /** GPUs of one instance. */
  readonly gpus: number;
  readonly memoryGB: number;
  readonly gpusMean: number;
  readonly gpusPeak: number;
  readonly hours: readonly HeldHour[];
  readonly loads: number;
}

export interface SimulationResult {
  readonly name: string;
  readonly requests: number;
  readonly gpusMean: number;
  readonly gpusP99: number;
  readonly gpusPeak: number;
  readonly gpuHours: number;
  /** Enough of all requests are in time, and no more are refused than may be. */
  readonly sloMet: boolean;
  /** The quantile of latency over bare time. */
  readonly quantileRatio: number;
  /** Part of all requests that were served within the SLO. */
  readonly inTime: number;
  readonly rejected: number;
  /** Part of all requests that was taken, and ended at its deadline without an answer. */
  readonly expired: number;
  readonly p50S: number;
  readonly p95S: number;
  readonly meanS: number;
  /** Starts of instances and loads of other weights. */
  readonly loads: number;
  readonly adapterLoads: number;
  readonly actions: number;
  /** Of the GPU time held: tasks; loading other weights into instances that run. */
  readonly busyGpuHours: number;
  readonly switchGpuHours: number;
  readonly hours: readonly HeldHour[];
  readonly pools: readonly PoolResult[];
  readonly nodeDeaths: number;
  /** Tasks that began again because their node died. */
  readonly tasksAgain: number;
}

/** The raw outcome of a run. */
export interface Outcome {
  readonly input: SimulationInput;
  readonly tally: Tally;
  readonly held: HeldSummary;
  readonly pools: readonly Pool[];
}

/** The value that a part `q` of ascending values does not exceed (nearest rank). */
export function quantileOf(ascending: Float64Array, q: number): number {
  if (ascending.length === 0) return Number.NaN;
  return ascending[Math.min(ascending.length - 1, Math.max(0, Math.ceil(q * ascending.length) - 1))]!;
}

/** Sums up. */
export function resultOf(outcome: Outcome): SimulationResult {
  const { input, tally, held, pools } = outcome;
  const { latencyS } = tally;
  const { bareS, sloFactor, quantile, maxRejected = 1, trace, fleet } = input;
  const requests = latencyS.length;
  const served = latencyS.filter((s) => !Number.isNaN(s));
  const ratios = new Float64Array(served.length);
  let [at, sum, inTime] = [0, 0, 0];
  for (let i = 0; i < requests; i++) {
    const s = latencyS[i]!;
    if (Number.isNaN(s)) continue;
    const ratio = s / bareS[i]!;
    ratios[at++] = ratio;
    sum += s;
    if (ratio <= sloFactor * (1 + 1e-9)) inTime++;
  }
  served.sort();
  ratios.sort();
  const hours = trace.lengthS / 3600;
  return {
    name: fleet.name,
    requests,
    gpusMean: held.mean,
    gpusP99: held.p99,
    gpusPeak: held.peak,
    gpuHours: held.mean * hours,
    sloMet: inTime / requests >= quantile && tally.rejected / requests <= maxRejected,
    quantileRatio: quantileOf(ratios, quantile),
    inTime: inTime / requests,
    rejected: tally.rejected / requests,
    expired: tally.expired / requests,
    p50S: quantileOf(served, 0.5),
    p95S: quantileOf(served, 0.95),
    meanS: sum / Math.max(1, served.length),
    loads: pools.reduce((total, pool) => total + pool.loads, 0),
    adapterLoads: pools.reduce((total, pool) => total + pool.adapterLoads, 0),
    actions: tally.actions,
    busyGpuHours: tally.busyGpuS / 3600,
    switchGpuHours: tally.switchGpuS / 3600,
    hours: held.hours,
    pools: pools.map((pool) => {
      const { mean, peak, hours: byHour } = pool.held.summary();
      const { name, gpus, memoryGB } = pool.spec;
      return { name, gpus, memoryGB, gpusMean: mean, gpusPeak: peak, hours: byHour, loads: pool.loads };
    }),
    nodeDeaths: tally.deaths,
    tasksAgain: tally.again,
  };
}
