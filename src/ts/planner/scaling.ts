// How many instances a stage shall have: from its load, to one action at a time.
//
// Invariant: pure; the state is a value that the caller keeps, so the same inputs make the same decisions again. No
// input makes a number that is not finite. Nothing is decided while the last action is not confirmed, and no longer
// than `confirmMs`. Instances that start count as capacity; tasks that wait for another input are not counted at all.
import { checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import { drainedAfterUs } from '../pipeline/forecast.js';
import { type Arrivals, deviationsOf, forecastRate, noArrivals, observe, presentRate } from './arrivals.js';
import { serversFor } from './queueing.js';

const MAX_MS = 2 ** 31 - 1;
const MAX_COUNT = 2 ** 31 - 1;
/** A rate that is planned for may be this much higher before it is found out: see arrivals.ts. */
const HEADROOM = 1.2;
/** A forecast counts when it is that much above the rate that is planned for. */
const FORECAST_COUNTS = 1.25;
/** Tasks that the mean time is made of; and how far it must go until it is planned with. */
const MEAN_OF_TASKS = 400;
const COST_CHANGED = 0.2;
/** The last instance is kept for that part of its start time at least: ending and starting again would cost more. */
const KEPT_FOR = 0.5;
/** How much of the start time may pass until what gathered meanwhile is done. */
const CATCH_UP = 0.25;

/** What is wanted of a stage. */
export interface ScalePolicy {
  /** The fewest instances; 0: none where nothing comes. */
  readonly min: number;
  readonly max: number;
  /** A task shall be done that long after it could begin. */
  readonly sloMs: number;
  /** The part of tasks that shall be in time, 0.5 to 0.9999; also the quantile of the forecast. */
  readonly quantile: number;
  /**
   * How sure it must be that the rate is another one, as a logarithm, 1 to 40. Less follows bursts more closely, for
   * more actions.
   */
  readonly evidence: number;
  /** Fewer instances must have been enough for that long. */
  readonly downAfterMs: number;
  /** Nothing must have come for that long before the last instance ends. */
  readonly zeroAfterMs: number;
  /** And for as long as so many arrivals usually take, 0 to 100, so that a slow steady load keeps its instance. */
  readonly zeroAfterGaps: number;
  /** After that long an action that was not confirmed counts as lost. */
  readonly confirmMs: number;
}

/** Without a word of the user. `sloMs` has no default: nobody else can know it. */
export const DEFAULT_SCALE_POLICY: Omit<ScalePolicy, 'sloMs'> = Object.freeze({
  min: 0,
  max: 64,
  quantile: 0.99,
  evidence: 12,
  downAfterMs: 120_000,
  zeroAfterMs: 300_000,
  zeroAfterGaps: 8,
  confirmMs: 60_000,
});

/** A stage as it is now. */
export interface StageLoad {
  readonly stage: string;
  /** Instances that take tasks. */
  readonly ready: number;
  /** For each instance that starts, in how many ms it is expected to be ready; 0: it is late. */
  readonly startingMs: readonly number[];
  /** Tasks that one instance runs at a time. */
  readonly slots: number;
  /** Tasks that could begin if there were room; not those that wait for another input. */
  readonly queued: number;
  readonly running: number;
  /** Tasks that came since the last call. */
  readonly arrived: number;
  /** Warm tasks that ended since the last call, and their mean time; tasks of a cold instance are not among them. */
  readonly served: number;
  readonly servedMs: number;
  /** What the spec says that a task costs; 0: nothing. */
  readonly hintMs: number;
  /** How long an instance takes to start, with its model. */
  readonly loadMs: number;
  /** The number of the last action that was carried out; 0: none. */
  readonly confirmed: number;
}

/** What the policy remembers. `JSON.parse(JSON.stringify(state))` is the same state. */
export interface ScaleState {
  readonly arrivals: Arrivals;
  /** Warm tasks: how many, at most so many as count, and their mean time. */
  readonly tasks: number;
  readonly meanMs: number;
  /** What is planned with, and how many tasks it was made of: chance must not move instances. */
  readonly serviceMs: number;
  readonly serviceOf: number;
  /** The number of the last action. */
  readonly actions: number;
  /** When it was decided; it is pending until it is confirmed. */
  readonly actedMs: number;
  /** Since when fewer would have been enough, and the most that were needed since; -1: they are not. */
  readonly lowSinceMs: number;
  readonly lowMost: number;
  /**
   * Time without arrivals counts from then on at the earliest: when the stage was first seen, and when an instance was
   * last ready after there was none. So a client that comes back after `retryAfterMs` finds it there.
   */
  readonly keptMs?: number;
}

/** Why a decision was made. */
export type ScaleReason =
  | 'steady' // as many as the rate needs
  | 'backlog' // what waits would be late
  | 'forecast' // more will come
  | 'least' // the policy's least
  | 'idle' // nothing comes
  | 'unconfirmed' // the last action is not carried out yet
  | 'unproven'; // fewer would do, but not for long enough, or not with what waits

/** What shall be done. */
export interface ScaleAction {
  readonly type: 'hold' | 'up' | 'down';
  /** Of an action its number, one more than that of the last; of `hold` the last one's. */
  readonly number: number;
  readonly from: number;
  /** Instances that there shall be, those that start among them. */
  readonly to: number;
  readonly reason: ScaleReason;
  /** For the answer to a request that finds no instance: in how many ms one is ready, its start included. 0: now. */
  readonly retryAfterMs: number;
  /** To be kept for the next call. */
  readonly state: ScaleState;
}

/** The state before anything is known. @param nowMs on the caller's clock */
export function firstState(nowMs: number): ScaleState {
  return {
    arrivals: noArrivals(nowMs),
    tasks: 0,
    meanMs: 0,
    serviceMs: 0,
    serviceOf: 0,
    actions: 0,
    actedMs: 0,
    lowSinceMs: -1,
    lowMost: 0,
    keptMs: nowMs,
  };
}

/**
 * Decides how many instances a stage shall have.
 *
 * @param load the stage now; its counts are since the last call
 * @param policy what is wanted
 * @param nowMs on a monotonic clock; the part of the day is taken from it, so it should begin at midnight
 * @param before the state of the last action; default {@link firstState}
 * @returns one action; carry it out, then say its number as `confirmed`
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field
 */
export function scale(
  load: StageLoad,
  policy: ScalePolicy,
  nowMs: number,
  before: ScaleState = firstState(nowMs),
): ScaleAction {
  checkLoad(load);
  checkPolicy(policy);
  if (!Number.isFinite(nowMs)) throw invalidArgument('nowMs', nowMs, 'a number of ms');
  const isWaking = load.ready === 0 && load.startingMs.length > 0;
  const state = learn(before, load, nowMs, policy.evidence);
  if (isWaking) state.keptMs = nowMs;
  const have = load.ready + load.startingMs.length;
  const retryAfterMs = load.ready > 0 ? 0 : Math.min(load.loadMs, ...load.startingMs);
  const { lowSinceMs, lowMost } = state;
  const hold = (reason: ScaleReason, sinceMs: number, ofThem: number): ScaleAction => {
    state.lowSinceMs = sinceMs;
    state.lowMost = ofThem;
    return { type: 'hold', number: state.actions, from: have, to: have, reason, retryAfterMs, state };
  };
  if (load.confirmed < state.actions && nowMs - state.actedMs < policy.confirmMs) {
    return hold('unconfirmed', lowSinceMs, lowMost);
  }
  const { wanted, reason } = wants(state, load, policy, nowMs, have);
  const act = (type: 'up' | 'down', to: number): ScaleAction => {
    const number = Math.max(state.actions, load.confirmed) + 1;
    const next = { ...state, actions: number, actedMs: nowMs, lowSinceMs: -1, lowMost: 0 };
    return { type, number, from: have, to, reason, retryAfterMs, state: next };
  };
  if (wanted > have) return act('up', wanted);
  if (wanted === have) return hold(reason, -1, 0);
  const since = lowSinceMs < 0 ? nowMs : lowSinceMs;
  const most = Math.max(wanted, lowMost);
  const isIdle = wanted === 0 && reason === 'idle';
  if (!isIdle && nowMs - since < policy.downAfterMs) return hold('unproven', since, most);
  const to = isIdle ? 0 : most;
  if (to >= have || !holdsWith(to, state, load, policy)) return hold('unproven', nowMs, wanted);
  return act('down', to);
}

/** The next state while it is made. */
type Draft = { -readonly [K in keyof ScaleState]: ScaleState[K] };

// A state of its own, so that the rest of a decision fills it in.
function learn(before: ScaleState, load: StageLoad, nowMs: number, evidence: number): Draft {
  const arrivals = observe(before.arrivals, load.arrived, nowMs, evidence);
  const state: Draft = { ...before, arrivals };
  if (load.served === 0) return state;
  const tasks = Math.min(before.tasks + load.served, MEAN_OF_TASKS);
  const meanMs = before.meanMs + Math.min(1, load.served / tasks) * (load.servedMs - before.meanMs);
  const isNew = tasks >= Math.min(2 * before.serviceOf, MEAN_OF_TASKS) && before.serviceOf < MEAN_OF_TASKS;
  const isOther = tasks === MEAN_OF_TASKS && Math.abs(meanMs - before.serviceMs) > COST_CHANGED * before.serviceMs;
  state.tasks = tasks;
  state.meanMs = meanMs;
  if (isNew || isOther) {
    state.serviceMs = meanMs;
    state.serviceOf = tasks;
  }
  return state;
}

function serviceOf(state: ScaleState, load: StageLoad): number {
  return state.tasks > 0 ? state.serviceMs : load.hintMs;
}

function wants(
  state: ScaleState,
  load: StageLoad,
  policy: ScalePolicy,
  nowMs: number,
  have: number,
): { wanted: number; reason: ScaleReason } {
  const { arrivals } = state;
  const serviceMs = serviceOf(state, load);
  const deviations = deviationsOf(policy.quantile);
  const coming = forecastRate(arrivals, load.loadMs, deviations);
  const isForecast = coming > arrivals.planned * FORECAST_COUNTS;
  const hasWork = load.queued + load.running > 0;
  if (!hasWork && isIdle(state, load, policy, nowMs) && coming * policy.zeroAfterMs < 0.5) {
    return { wanted: policy.min, reason: policy.min === 0 ? 'idle' : 'least' };
  }
  const rate = isForecast ? coming : arrivals.planned * HEADROOM;
  const steady = instancesFor(rate, serviceMs, load, policy);
  // Work without a known cost: one instance finds out. A request that was refused for want of an instance counts as an
  // arrival too. The last instance ends only when nothing has come for long.
  const least = Math.max(policy.min, hasWork || load.arrived > 0 || have > 0 ? 1 : 0);
  const backlog = forBacklog(presentRate(arrivals), serviceMs, load, policy, have);
  const wanted = Math.min(policy.max, Math.max(least, steady, backlog));
  if (wanted === backlog && backlog > steady) return { wanted, reason: 'backlog' };
  if (wanted > steady) return { wanted, reason: 'least' };
  return { wanted, reason: isForecast ? 'forecast' : 'steady' };
}

function isIdle({ arrivals, keptMs = -1 }: ScaleState, load: StageLoad, policy: ScalePolicy, nowMs: number): boolean {
  const { lastMs, planned } = arrivals;
  const sinceMs = Math.max(lastMs, keptMs);
  if (sinceMs < 0) return true;
  const gapsMs = planned > 0 ? Math.min(policy.zeroAfterGaps / planned, 6 * policy.zeroAfterMs) : 0;
  return nowMs - sinceMs >= Math.max(policy.zeroAfterMs, gapsMs, load.loadMs * KEPT_FOR);
}

function waitOf(serviceMs: number, policy: ScalePolicy): number {
  return Math.max(0, policy.sloMs - serviceMs);
}

function instancesFor(rate: number, serviceMs: number, load: StageLoad, policy: ScalePolicy): number {
  if (rate === 0) return 0;
  const late = 1 - policy.quantile;
  const servers = serversFor(rate, serviceMs, waitOf(serviceMs, policy), late, policy.max * load.slots);
  return Math.max(1, Math.ceil(servers / load.slots));
}

// More instances, where what waits would be late and they would be ready before those that are there have done it.
function forBacklog(rate: number, serviceMs: number, load: StageLoad, policy: ScalePolicy, have: number): number {
  const { queued, running, slots, loadMs, startingMs, ready } = load;
  if (queued === 0 || serviceMs === 0) return 0;
  const waitMs = waitOf(serviceMs, policy);
  const workMs = (queued + running / 2) * serviceMs;
  const later = startingMs.flatMap((ms) => Array.from({ length: slots }, () => ms));
  const doneMs = drainedAfterUs(workMs, ready * slots, later);
  if (doneMs <= waitMs) return 0;
  // What those that are there gain on what comes; they may be in time again before a new one is ready.
  const spare = have * slots - rate * serviceMs;
  const lateMs = (doneMs - waitMs) * have * slots;
  if (spare > 0 && lateMs / spare <= loadMs) return have;
  const untilMs = Math.max(waitMs, loadMs * (1 + CATCH_UP));
  const comesMs = rate * serviceMs * untilMs;
  const doneByThenMs = ready * slots * untilMs + later.reduce((sum, ms) => sum + Math.max(0, untilMs - ms), 0);
  const leftMs = workMs + comesMs - doneByThenMs;
  if (leftMs <= 0) return have;
  // No more instances than tasks that are there or come.
  const each = slots * Math.max(untilMs - loadMs, 1);
  const tasks = Math.ceil((queued + running + rate * untilMs) / slots);
  return Math.max(have, Math.min(policy.max, tasks, have + Math.ceil(leftMs / each)));
}

// Whether so many would hold the SLO: the rate that is planned for, and what waits now.
function holdsWith(instances: number, state: ScaleState, load: StageLoad, policy: ScalePolicy): boolean {
  if (instances === 0) return load.queued + load.running === 0;
  const serviceMs = serviceOf(state, load);
  const servers = Math.min(instances, load.ready) * load.slots;
  const spare = servers - state.arrivals.planned * serviceMs;
  if (spare <= 0) return false;
  const workMs = load.queued * serviceMs + Math.max(0, load.running - servers) * serviceMs;
  return workMs / spare <= waitOf(serviceMs, policy) / 2;
}

function isCount(count: unknown): boolean {
  return Number.isSafeInteger(count) && (count as number) >= 0 && (count as number) <= MAX_COUNT;
}

function isMs(ms: unknown): boolean {
  return typeof ms === 'number' && ms >= 0 && ms <= MAX_MS;
}

function badMs(name: string, ms: unknown): Error {
  return invalidArgument(name, ms, `ms from 0 to ${MAX_MS}`);
}

const COUNTS = ['ready', 'queued', 'running', 'arrived', 'served', 'confirmed'] as const;
const TIMES = ['servedMs', 'hintMs', 'loadMs'] as const;
const POLICY_TIMES = ['sloMs', 'downAfterMs', 'zeroAfterMs', 'confirmMs'] as const;

function checkLoad(load: StageLoad): void {
  checkObject('load', load);
  checkString('stage', load.stage);
  // Names are put together only where a value is wrong: every decision comes here.
  for (const name of COUNTS) {
    if (!isCount(load[name])) checkInteger(`${name} of ${load.stage}`, load[name], 0, MAX_COUNT);
  }
  const { slots } = load;
  if (!isCount(slots) || slots < 1 || slots > 128) checkInteger(`slots of ${load.stage}`, slots, 1, 128);
  for (const name of TIMES) if (!isMs(load[name])) throw badMs(`${name} of ${load.stage}`, load[name]);
  if (!Array.isArray(load.startingMs)) throw invalidArgument('startingMs', load.startingMs, 'a list of ms');
  for (const ms of load.startingMs) if (!isMs(ms)) throw badMs(`startingMs of ${load.stage}`, ms);
}

/** Checks a policy. @returns it @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field */
export function checkPolicy(policy: ScalePolicy): ScalePolicy {
  checkObject('policy', policy);
  checkInteger('policy.max', policy.max, 1, 65_535);
  checkInteger('policy.min', policy.min, 0, policy.max);
  for (const name of POLICY_TIMES) if (!isMs(policy[name])) throw badMs(`policy.${name}`, policy[name]);
  if (!(policy.evidence >= 1 && policy.evidence <= 40)) {
    throw invalidArgument('policy.evidence', policy.evidence, 'a number from 1 to 40');
  }
  if (!(policy.zeroAfterGaps >= 0 && policy.zeroAfterGaps <= 100)) {
    throw invalidArgument('policy.zeroAfterGaps', policy.zeroAfterGaps, 'a number from 0 to 100');
  }
  if (!(policy.quantile >= 0.5 && policy.quantile <= 0.9999)) {
    throw invalidArgument('policy.quantile', policy.quantile, 'a number from 0.5 to 0.9999');
  }
  return policy;
}
