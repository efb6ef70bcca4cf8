// The plan: how many GPUs a workload needs, of which stage, when, and how certain that is.
//
// Invariant: settings are searched for on the first seed, and the intervals come from the other seeds. A trace from a
// file is one sample: there is no interval, and the plan says so.
import type { Profile } from '../profiles/profile.js';
import { stretched, type Trace } from '../traces/trace.js';
import { Comparison, type CompareOptions } from './compare.js';
import { type Compared, FLEETS } from './compared.js';
import { delaysOf } from './fleet.js';
import { placementOf } from './peak-placement.js';
import type { Interval, PlanInput, PlanResult, Sensitivity } from './plan.js';
import { assumedOf, unknownOf } from './plan-caveats.js';
import { widerOf, workOf } from './plan-workload.js';
import { ratiosOf } from './ratios.js';
import { DEFAULT_SETTINGS, type Settings } from './settings.js';
import { bareOf, type Workload } from './workload.js';

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
    // Of what may be late on the first seed, half is left to the others.
    margin: input.isSample ? undefined : (1 - quantile) / 2,
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
      sloMet: chosen.sloMet,
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

function choose(comparison: readonly Compared[], { gpu }: PlanInput): Compared {
  const fleets = comparison.filter(({ name }) => name !== 'bound');
  const fitting = fleets.filter(({ pools }) => pools.every((pool) => pool.memoryGB <= gpu.memoryGB));
  // If no fleet fits, `placement.unplaced` of the plan says so.
  const list = fitting.length > 0 ? fitting : fleets;
  const good = list.filter(({ sloMet }) => sloMet);
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
