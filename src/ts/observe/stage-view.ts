// The stages of a snapshot, and their instances.
//
// Invariant: pure. Every place of the plan is there, whether its process answers or not, and every place that still has
// a process.
import type { SupervisionStatus } from '../cluster/index.js';
import { RESTART_KINDS, type RestartKind, type RestartTotal } from '../cluster/restart-log.js';
import type { LatencyStatus } from '../pipeline/index.js';
import { addLatencies, latencySince, type Percentiles, recentOr } from './percentiles.js';
import type { Rates } from './rates.js';
import { type SnapshotInput, samePlace, stageOf } from './sample.js';

/**
 * `hung`: its process is there and does not answer, or is stopped. `broken`: it does not come back soon. `draining`: no
 * plan has it any more, and it ends.
 */
export type InstanceState = 'starting' | 'ready' | 'hung' | 'broken' | 'draining';

export interface InstanceView {
  readonly name: string;
  readonly instance: number;
  readonly state: InstanceState;
  /** Why it is broken. */
  readonly reason: string | undefined;
  /**
   * Tasks whose handler runs, that wait with all their inputs, and whose output waits for memory; null, as all that
   * only the process knows: it did not answer.
   */
  readonly running: number | null;
  readonly ready: number | null;
  readonly unsent: number | null;
  /** Requests here in any state. */
  readonly open: number | null;
  /** Tasks that have ended since the process began, and how many of them failed. */
  readonly tasks: number | null;
  readonly failures: number | null;
  readonly tasksPerSecond: number | null;
  /** Share of its time that its handlers ran, 0 to 1; of one with turns, of all of them. */
  readonly busy: number | null;
  readonly memoryBytes: number | null;
  readonly restarts: number;
}

export interface StageView {
  readonly name: string;
  readonly after: readonly string[];
  readonly spread: string;
  readonly concurrency: number;
  readonly instances: readonly InstanceView[];
  readonly tasksPerSecond: number | null;
  readonly busy: number | null;
  readonly queue: Percentiles | undefined;
  readonly compute: Percentiles | undefined;
  /** Processes that ended and were replaced, since the start, by why. */
  readonly restarts: Readonly<Record<RestartKind, number>>;
}

/** One stage of the spec. */
export function stageView(
  { spec, now, before, minuteBefore, restartTotals }: SnapshotInput,
  index: number,
  rates: Rates,
): StageView {
  const { name, after, spread, concurrency } = spec.stages[index]!;
  const { status } = now;
  const wanted = new Set((status.plan.instances[index] ?? []).map((instance) => `${name}/${instance}`));
  const names = new Set([...wanted, ...Object.keys(status.supervision).filter((place) => stageOf(place) === name)]);
  const totals = restartTotals.filter(({ stage }) => stage === name);
  const restarted = new Map(totals.map(({ instance, count }) => [instance, count]));
  const instances = [...names].map((place): InstanceView => {
    const instance = Number(place.slice(name.length + 1));
    const own = status.stages[place];
    const condition = status.supervision[place];
    const earlier = own === undefined ? undefined : samePlace(own, before?.status);
    const computed = own === undefined ? null : rates.of(own.computeTimes.sumUs, earlier?.computeTimes.sumUs);
    return {
      name: place,
      instance,
      state: instanceState(condition, own !== undefined, wanted.has(place)),
      reason: condition?.reason?.message,
      running: own?.running ?? null,
      ready: own?.ready ?? null,
      unsent: own?.unsent ?? null,
      open: own?.open ?? null,
      tasks: own?.tasks ?? null,
      failures: own?.failures ?? null,
      tasksPerSecond: own === undefined ? null : rates.of(own.tasks, earlier?.tasks),
      // What runs for longer than the samples are apart has not been counted yet.
      busy: own === undefined || computed === null ? null : busyOf(computed, own.running, concurrency),
      memoryBytes: own?.pool.registeredBytes ?? null,
      restarts: restarted.get(instance) ?? 0,
    };
  });
  instances.sort((a, b) => a.instance - b.instance);
  const busy = instances.flatMap((instance) => (instance.busy === null ? [] : [instance.busy]));
  const own = Object.values(status.stages).filter((one) => stageOf(one.name) === name);
  const percentiles = (what: 'queueTimes' | 'computeTimes') => {
    const since: LatencyStatus[] = [];
    if (minuteBefore !== undefined) {
      for (const one of own) since.push(latencySince(one[what], samePlace(one, minuteBefore.status)?.[what]));
    }
    return recentOr(addLatencies(since), addLatencies(own.map((one) => one[what])), minuteBefore !== undefined);
  };
  return {
    name,
    after,
    spread,
    concurrency,
    instances,
    tasksPerSecond: sumOf(instances.map(({ tasksPerSecond }) => tasksPerSecond)),
    busy: busy.length === 0 ? null : busy.reduce((sum, share) => sum + share, 0) / busy.length,
    queue: percentiles('queueTimes'),
    compute: percentiles('computeTimes'),
    restarts: kindsOf(totals),
  };
}

function busyOf(computedUsPerSecond: number, running: number, concurrency: number): number {
  const counted = computedUsPerSecond / 1e6 / concurrency;
  return Math.min(1, counted === 0 ? running / concurrency : counted);
}

function instanceState(supervision: SupervisionStatus | undefined, answers: boolean, wanted: boolean): InstanceState {
  if (!wanted) return 'draining';
  switch (supervision?.state) {
    case 'ready':
      return answers ? 'ready' : 'hung';
    case 'stopped':
      return 'hung';
    case 'starting':
      return 'starting';
    default:
      return 'broken';
  }
}

/** Of the figures that are known; null: none is. */
export function sumOf(list: readonly (number | null)[]): number | null {
  const known = list.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0);
}

function kindsOf(totals: readonly RestartTotal[]): Record<RestartKind, number> {
  const counts = { hang: 0, 'task-timeout': 0, cancel: 0, poison: 0, exit: 0 };
  for (const { kinds } of totals) for (const kind of RESTART_KINDS) counts[kind] += kinds[kind];
  return counts;
}
