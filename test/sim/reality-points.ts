// The points at which the simulator is compared with a cluster, and what the simulator says there.
//
// Invariant: a point is data and a seed; the fleet has the shipped policies, and the costs of a profile that
// `onepiece profile` would measure of the same stages.
import { costsOf } from '../../src/ts/planner/profiles/costs.js';
import type { Profile } from '../../src/ts/planner/profiles/profile.js';
import { DEFAULT_SCALE_POLICY } from '../../src/ts/planner/scaling.js';
import { burstTrace, poissonTrace } from '../../src/ts/planner/traces/generators.js';
import type { Trace } from '../../src/ts/planner/traces/trace.js';
import type { ClusterDelays, FleetSpec } from '../../src/ts/planner/fleet/fleet.js';
import { simulate } from '../../src/ts/planner/fleet/simulation.js';
import { pool } from './fleet/workloads.js';
import { FIXED_INSTANCES, LOAD_MS, PREPARE_INSTANCES, PREPARE_MS, SCALE, WORK_MS } from './reality-workflow.js';

/** Where both are compared. */
export interface Point {
  readonly name: string;
  readonly isElastic: boolean;
  /** Relative to what the most instances of `work` can do. */
  readonly load: number;
  /** Requests that will take longer are refused; undefined: none is. */
  readonly deadlineS: number | undefined;
  readonly seconds: number;
  readonly seed: number;
}

/** What either says of a point. */
export interface Figures {
  /** GPUs held, on average over the trace. */
  readonly gpus: number;
  readonly p50S: number;
  readonly p95S: number;
  /** Part of the requests that was refused, or ended at its deadline. */
  readonly rejected: number;
}

export const MAX_QUEUED = 256;
const DEADLINE_S = 4;

const point = (isElastic: boolean, load: number, hasDeadline: boolean, seconds: number): Point => ({
  name: `${isElastic ? 'elastic' : 'fixed'}, ${load} of capacity${hasDeadline ? ', deadlines' : ''}`,
  isElastic,
  load,
  deadlineS: hasDeadline ? DEADLINE_S : undefined,
  seconds,
  seed: Math.round(100 * load) + (isElastic ? 1000 : 0),
});

/** Ten of them. @param seconds how long each fixed one is; an elastic one is one and a half times as long */
export function tenPoints(seconds: number): Point[] {
  const longer = 1.5 * seconds;
  return [
    ...[0.3, 0.6, 0.8, 0.95].map((load) => point(false, load, false, seconds)),
    ...[1.2, 1.5].map((load) => point(false, load, true, seconds)),
    ...[0.3, 0.5, 0.7].map((load) => point(true, load, false, longer)),
    point(true, 1, true, longer),
  ];
}

/** The requests of a point: steady chance where the fleet is fixed, bursts where it is elastic. */
export function traceOf({ isElastic, load, seconds, seed, deadlineS }: Point): Trace {
  const most = isElastic ? SCALE.max : FIXED_INSTANCES;
  const rate = (load * most * 1000) / WORK_MS;
  const options = { seed, rate, seconds, units: (u: number) => 0.5 + u };
  const trace = isElastic ? burstTrace({ ...options, factor: 4, burstS: 20, quietS: 30 }) : poissonTrace(options);
  return deadlineS === undefined ? trace : { ...trace, deadlineS: trace.deadlineS.map(() => deadlineS) };
}

/** The profile that the stages have by what their code says. */
export function pointProfile(): Profile {
  const figure = (value: number) => ({ value, kind: 'derived', source: 'code' }) as const;
  const stage = (name: string, ms: number, loadS: number) => ({
    name,
    shared: false,
    units: 'input' as const,
    seconds: [{ gpu: 'CPU', gpus: 1, batch: 1, ...figure(ms / 1000) }],
    memoryGB: figure(1),
    loadSeconds: figure(loadS),
  });
  const stages = [stage('prepare', PREPARE_MS, 1), stage('work', WORK_MS, (LOAD_MS + 1000) / 1000)];
  const sources = { code: { what: 'reality-workflow.ts', where: 'its constants' } };
  return { id: 'reality', what: 'stages that sleep', gpus: { CPU: { memoryGB: 1000 } }, stages, whole: {}, sources };
}

/** What the simulator says. @param profile of the two stages, on its only kind of GPU */
export function simulated(point: Point, profile: Profile, delays: ClusterDelays): Figures & { readonly late: number } {
  const [[kind, { memoryGB }]] = Object.entries(profile.gpus) as [[string, { memoryGB: number }]];
  const { stages } = costsOf(profile, { kind, memoryGB });
  const trace = traceOf(point);
  const pools = stages.map((stage, i) => {
    const isScaled = point.isElastic && i === 1;
    const { loadMs: _, ...scale } = SCALE;
    return pool({
      name: stage.name,
      memoryGB: stage.memoryGB,
      loadS: stage.loadSeconds,
      fixed: isScaled ? undefined : i === 0 ? PREPARE_INSTANCES : FIXED_INSTANCES,
      policy: isScaled ? { ...DEFAULT_SCALE_POLICY, ...scale } : undefined,
      hintS: stage.seconds,
    });
  });
  const routes = [stages.map(({ seconds, units }, i) => ({ pool: i, seconds, units, transferS: 0 }))];
  const fleet: FleetSpec = {
    name: point.name,
    pools,
    routes,
    maxQueued: MAX_QUEUED,
    tickS: 1,
    delays,
    hasGateway: true,
  };
  const bareS = Float64Array.from(
    trace.units,
    (units) => units * stages.reduce((sum, { seconds }) => sum + seconds, 0),
  );
  const found = simulate({ fleet, trace, bareS, sloFactor: 3, quantile: 0.95, seed: 1 });
  const { gpusMean, p50S, p95S, rejected, expired } = found;
  return { gpus: gpusMean, p50S, p95S, rejected: rejected + expired, late: expired };
}

/** How far a simulated figure is from a measured one, and whether the goals are met. */
export interface Distance {
  readonly gpus: number;
  readonly p50: number;
  readonly p95: number;
  /** In points of a hundred. */
  readonly rejected: number;
  readonly isMet: boolean;
}

/** Goals: 10 %, 10 %, 20 %, 2 points. */
export function distanceOf(simulation: Figures, measured: Figures): Distance {
  const gpus = simulation.gpus / measured.gpus - 1;
  const p50 = simulation.p50S / measured.p50S - 1;
  const p95 = simulation.p95S / measured.p95S - 1;
  const rejected = 100 * (simulation.rejected - measured.rejected);
  const isMet = Math.abs(gpus) <= 0.1 && Math.abs(p50) <= 0.1 && Math.abs(p95) <= 0.2 && Math.abs(rejected) <= 2;
  return { gpus, p50, p95, rejected, isMet };
}
