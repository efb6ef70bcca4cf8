// Workloads to tune on, and ten others to compare tuned settings with the defaults on. Not a test.
import type { ModelCosts } from '../../../src/ts/planner/profiles/costs.js';
import { costsOf } from '../../../src/ts/planner/profiles/costs.js';
import { gentd26LikeTrace } from '../../../src/ts/planner/traces/gentd26-like.js';
import { burstTrace, dayTrace, onOffTrace, poissonTrace } from '../../../src/ts/planner/traces/generators.js';
import type { Trace } from '../../../src/ts/planner/traces/trace.js';
import { FleetBuilder } from '../../../src/ts/planner/fleet/fleet-builder.js';
import { DEFAULT_SETTINGS, type Settings } from '../../../src/ts/planner/fleet/settings.js';
import { bareOf } from '../../../src/ts/planner/fleet/workload.js';
import { behindGateway } from '../../../src/ts/planner/fleet/gateway-choice.js';
import type { ClusterDelays } from '../../../src/ts/planner/fleet/fleet.js';
import type { SimulationResult } from '../../../src/ts/planner/fleet/result.js';
import { simulate } from '../../../src/ts/planner/fleet/simulation.js';
import { tuneOver, type TunedOver } from '../../../src/ts/planner/fleet/tuning.js';
import { H100, shipped } from './workloads.js';

export const QUANTILE = 0.95;
const SLO = 3;
/** How far above the quantile the share in time must be during the search. */
const MARGIN = 0.01;
const DAY_S = 86_400;

export interface NamedWorkload {
  readonly name: string;
  readonly run: (settings: Settings) => SimulationResult;
}

function workload(
  what: string,
  profile: string,
  trace: Trace,
  { variants = 'base', delays, seconds = 1, loads = 1 }: Variant,
): NamedWorkload {
  const costs = scaled(costsOf(shipped(profile), H100), seconds, loads);
  const work = {
    trace,
    costs: trace.models.map(() => costs),
    variants,
    sloFactor: SLO,
    quantile: QUANTILE,
    bytesPerSecond: 1e9,
    maxQueued: 65_536,
    delays,
  };
  const builder = new FleetBuilder(work);
  const bareS = bareOf(work);
  const run = (settings: Settings) => {
    const fleet = behindGateway(builder.staged('staged-elastic', settings), work);
    return simulate({ fleet, trace, bareS, sloFactor: SLO, quantile: QUANTILE });
  };
  const changes = `${seconds === 1 ? '' : `, tasks x ${seconds}`}${loads === 1 ? '' : `, loads x ${loads}`}`;
  return { name: `${what}; ${profile}, ${variants}${changes}`, run };
}

/** How a workload differs from its profile. */
interface Variant {
  readonly variants?: 'base' | 'adapter';
  readonly delays?: ClusterDelays | null | undefined;
  /** Factors on the times of tasks and of loads. */
  readonly seconds?: number;
  readonly loads?: number;
}

function scaled(costs: ModelCosts, seconds: number, loads: number): ModelCosts {
  const stages = costs.stages.map((stage) => ({
    ...stage,
    seconds: stage.seconds * seconds,
    batches: stage.batches.map(([size, s]) => [size, s * seconds] as const),
    loadSeconds: stage.loadSeconds * loads,
    switchSeconds: stage.switchSeconds * loads,
  }));
  return { ...costs, stages };
}

const names = (count: number) => Array.from({ length: count }, (_, i) => `m${i}`);
const [WAN40, WAN4] = ['wan21-i2v-14b-480p-40', 'wan21-i2v-14b-480p-4'];
const LORA = { variants: 'adapter' } as const;

/** What is tuned on. */
export function known(delays?: ClusterDelays | null): NamedWorkload[] {
  const of = (what: string, profile: string, trace: Trace, more: Variant = {}) =>
    workload(what, profile, trace, { ...more, delays });
  return [
    of('like GenTD26, a day', WAN40, gentd26LikeTrace({ seed: 1 })),
    of('bursts, 0.02 a second, 6 models', WAN40, burstTrace({ seed: 1, rate: 0.02, seconds: DAY_S, models: names(6) })),
    of('a day, 0.2 a second, 3 models', WAN4, dayTrace({ seed: 1, rate: 0.2, seconds: DAY_S, models: names(3) }), LORA),
    of('on and off, 0.05 a second', WAN40, onOffTrace({ seed: 1, rate: 0.05, seconds: DAY_S })),
    of('like GenTD26, a day', WAN40, gentd26LikeTrace({ seed: 2 }), LORA),
  ];
}

/** Ten others: other seeds, rates, numbers of models, shapes and costs. */
export function others(delays?: ClusterDelays | null): NamedWorkload[] {
  const of = (what: string, profile: string, trace: Trace, more: Variant = {}) =>
    workload(what, profile, trace, { ...more, delays });
  const [slow, quick] = [
    { seconds: 3, loads: 0.5 },
    { seconds: 0.5, loads: 0.5 },
  ];
  return [
    of('like GenTD26, seed 11', WAN40, gentd26LikeTrace({ seed: 11 }), LORA),
    of('like GenTD26, three times as many', WAN40, gentd26LikeTrace({ seed: 12, scale: 3 }), LORA),
    of('like GenTD26, 8 models', WAN40, gentd26LikeTrace({ seed: 13, models: 8 }), quick),
    of('steady, 0.1 a second', WAN40, poissonTrace({ seed: 14, rate: 0.1, seconds: DAY_S })),
    of(
      'steady, 0.02 a second, 4 models',
      WAN40,
      poissonTrace({ seed: 15, rate: 0.02, seconds: DAY_S, models: names(4) }),
    ),
    of('a day, 0.05 a second, 12 models', WAN40, dayTrace({ seed: 16, rate: 0.05, seconds: DAY_S, models: names(12) })),
    of('a day, 0.5 a second', WAN4, dayTrace({ seed: 17, rate: 0.5, seconds: DAY_S })),
    of(
      'bursts, 0.05 a second, 3 models',
      WAN40,
      burstTrace({ seed: 18, rate: 0.05, seconds: DAY_S, models: names(3) }),
    ),
    of('bursts, 0.01 a second', WAN40, burstTrace({ seed: 19, rate: 0.01, seconds: DAY_S }), slow),
    of(
      'on and off, 0.1 a second, 2 models',
      WAN40,
      onOffTrace({ seed: 20, rate: 0.1, seconds: DAY_S, models: names(2) }),
      LORA,
    ),
  ];
}

export function tuned(delays?: ClusterDelays | null): TunedOver {
  return tuneOver(
    known(delays).map(({ run }) => run),
    QUANTILE,
    MARGIN,
  );
}

export interface TunedRow {
  readonly name: string;
  readonly tuned: { readonly gpusMean: number; readonly inTime: number };
  readonly defaults: { readonly gpusMean: number; readonly inTime: number };
  readonly relative: number;
}

/** The settings on one workload. */
export function compared({ name, run }: NamedWorkload, settings: Settings): TunedRow {
  const [mine, theirs] = [run(settings), run(DEFAULT_SETTINGS)];
  const figures = ({ gpusMean, inTime }: SimulationResult) => ({ gpusMean, inTime });
  return { name, tuned: figures(mine), defaults: figures(theirs), relative: mine.gpusMean / theirs.gpusMean };
}

/** As good as the defaults: it holds the SLO if they do, with at most 1.05 times the GPUs. */
export function isNoWorse({ tuned: mine, defaults, relative }: TunedRow): boolean {
  return relative <= 1.05 && mine.inTime >= Math.min(QUANTILE, defaults.inTime);
}
