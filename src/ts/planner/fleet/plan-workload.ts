// The workload of a plan: the costs of its models, and the same with other factors on its inputs.
//
// Invariant: a figure comes from the profile of a model, times the factor that the caller asked for, and nothing else.
import { costsOf, type GpuKind, gpuCountsOf, type ModelCosts } from '../profiles/costs.js';
import type { Profile } from '../profiles/profile.js';
import type { Trace } from '../traces/trace.js';
import { delaysOf } from './fleet.js';
import type { PlanInput } from './plan.js';
import type { Workload } from './workload.js';

/** Factors on the inputs of a workload; default 1. */
export interface Factors {
  readonly seconds?: number;
  /** Of load and switch times. */
  readonly loads?: number;
  readonly slo?: number;
  readonly delays?: null;
}

/** The workload of a plan under a trace. @param factors default: none */
export function workOf(input: PlanInput, trace: Trace, profiles: readonly Profile[], factors: Factors = {}): Workload {
  const { seconds = 1, loads = 1, slo = 1 } = factors;
  const costs = eachProfile(profiles, (profile) => scaled(costsOf(profile, input.gpu), seconds, loads));
  const { variants, quantile, maxRejected, bytesPerSecond, maxQueued, hasGateway } = input;
  const sloFactor = Math.max(1, input.sloFactor * slo);
  const delays = factors.delays === undefined ? delaysOf(input) : factors.delays;
  const promised = { sloFactor, quantile, maxRejected };
  return { trace, costs, variants, ...promised, bytesPerSecond, maxQueued, delays, hasGateway };
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

/** All models with the most GPUs a task that the profile has figures of, where that is more than the fewest. */
export function widerOf(profiles: readonly Profile[], gpu: GpuKind): ModelCosts[][] {
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
