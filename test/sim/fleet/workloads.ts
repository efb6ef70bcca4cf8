// Fleets and workloads for tests of the simulator. Not a test.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { costsOf } from '../../../src/ts/planner/profiles/costs.js';
import { checkProfile, type Profile } from '../../../src/ts/planner/profiles/profile.js';
import { DEFAULT_SCALE_POLICY, type ScalePolicy } from '../../../src/ts/planner/scaling.js';
import { burstTrace, type GeneratorOptions, poissonTrace } from '../../../src/ts/planner/traces/generators.js';
import type { Trace } from '../../../src/ts/planner/traces/trace.js';
import type { Workload } from '../../../src/ts/planner/fleet/workload.js';
import type { FaultRates, FleetSpec, PoolSpec } from '../../../src/ts/planner/fleet/fleet.js';
import type { SimulationResult } from '../../../src/ts/planner/fleet/result.js';
import { simulate } from '../../../src/ts/planner/fleet/simulation.js';
import { packageRoot } from '../../../src/ts/addon/native.js';

export const H100 = { kind: 'H100', memoryGB: 80 };

export function shipped(id: string): Profile {
  return checkProfile(JSON.parse(readFileSync(join(packageRoot(), 'profiles', `${id}.json`), 'utf8')));
}

/** A pool of one task at a time, always there. */
export function pool(more: Partial<PoolSpec> = {}): PoolSpec {
  return {
    name: 'pool',
    gpus: 1,
    memoryGB: 1,
    loadS: 10,
    slots: 1,
    resident: 0,
    swapS: 0,
    adapterS: 0,
    patienceS: 0,
    prefetch: false,
    hintS: 1,
    ...(more.policy === undefined && more.fixed === undefined ? { fixed: 1 } : {}),
    ...more,
  };
}

export function policy(more: Partial<ScalePolicy> = {}): ScalePolicy {
  return { ...DEFAULT_SCALE_POLICY, sloMs: 5000, ...more };
}

/** A fleet in which each model takes one step of `seconds` a unit in each pool. */
export function fleet(pools: PoolSpec[], models = 1, seconds = 1, more: Partial<FleetSpec> = {}): FleetSpec {
  const steps = pools.map((_, i) => ({ pool: i, seconds, units: 'input' as const, transferS: 0 }));
  const routes = Array.from({ length: models }, () => steps);
  return { name: 'test', pools, routes, maxQueued: 65_536, tickS: 1, ...more };
}

export function run(spec: FleetSpec, trace: Trace, seed = 1, faults?: FaultRates): SimulationResult {
  const bareS = Float64Array.from(trace.units, (units, i) => {
    return spec.routes[trace.model[i]!]!.reduce((sum, { seconds }) => sum + seconds * units, 0);
  });
  return simulate({ fleet: spec, trace, bareS, sloFactor: 3, quantile: 0.95, seed, faults });
}

export const exponentialUnits = (u: number) => -Math.log(1 - u) + 1e-6;

export const poisson = (rate: number, seconds: number, more: Partial<GeneratorOptions> = {}) =>
  poissonTrace({ seed: 7, rate, seconds, ...more });

/** Four hours of a service with a few models, in bursts; decisions take effect at once, unless `more` has delays. */
export function wan(id: string, more: Partial<Workload> = {}, models = 6): Workload {
  const names = Array.from({ length: models }, (_, i) => `m${i}`);
  const trace = burstTrace({ seed: 3, rate: 0.02, seconds: 14_400, models: names });
  const costs = costsOf(shipped(id), H100);
  return {
    trace,
    costs: trace.models.map(() => costs),
    variants: 'base',
    sloFactor: 3,
    quantile: 0.95,
    bytesPerSecond: 1e9,
    maxQueued: 65_536,
    delays: null,
    ...more,
  };
}
