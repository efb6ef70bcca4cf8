// A stage as discrete events in steps of a tick: arrivals, a queue, instances that take time to start, and the policy.
//
// Invariant: seeded, so the same run comes out again. It does what an executor does: an action is carried out in the
// tick after it was decided, instances that end finish their task.
import { randomOf } from '../../src/ts/planner/random.js';
import { decide, type ScaleEvent } from '../../src/ts/planner/scale-events.js';
import { DEFAULT_SCALE_POLICY, firstState, type ScaleAction, type ScalePolicy } from '../../src/ts/planner/scaling.js';

export interface Arrival {
  readonly atMs: number;
  readonly serviceMs: number;
}

/** Arrivals of a rate that changes with time. */
export function poisson(seed: number, untilMs: number, rate: (ms: number) => number, serviceMs: (u: number) => number) {
  const draw = randomOf(seed);
  const list: Arrival[] = [];
  let peak = 0;
  for (let ms = 0; ms < untilMs; ms += Math.max(100, untilMs / 10_000)) peak = Math.max(peak, rate(ms));
  for (let atMs = 0; ; ) {
    atMs -= Math.log(1 - draw()) / peak;
    if (atMs >= untilMs) return list;
    if (draw() * peak <= rate(atMs)) list.push({ atMs, serviceMs: serviceMs(draw()) });
  }
}

export interface ModelOptions {
  readonly arrivals: readonly Arrival[];
  readonly untilMs: number;
  readonly loadMs: number;
  readonly policy: Partial<ScalePolicy> & Pick<ScalePolicy, 'sloMs'>;
  /** undefined: the policy decides. */
  readonly fixed?: number;
  readonly hintMs?: number;
  readonly tickMs?: number;
}

export interface ModelResult {
  /** For each arrival, from coming to done, in ms. */
  readonly latenciesMs: readonly number[];
  /** Instances times ms, those that start among them. */
  readonly instanceMs: number;
  readonly actions: readonly { atMs: number; action: ScaleAction }[];
  readonly events: readonly ScaleEvent[];
}

/** Runs a stage. Tasks begin when an instance is free, exactly; decisions are made once a tick. */
export function runStage(options: ModelOptions): ModelResult {
  const { arrivals, untilMs, loadMs, fixed, hintMs = 0, tickMs = 1000 } = options;
  const policy = { ...DEFAULT_SCALE_POLICY, ...options.policy };
  let instances = Array.from({ length: fixed ?? 0 }, () => ({ readyMs: 0, busyUntilMs: 0, isWarm: true, ends: false }));
  const latenciesMs: number[] = new Array(arrivals.length);
  const running: { untilMs: number; serviceMs: number; isWarm: boolean }[] = [];
  let [next, head, instanceMs] = [0, 0, 0];
  let state = firstState(0);
  let confirmed = 0;
  const actions: { atMs: number; action: ScaleAction }[] = [];
  const events: ScaleEvent[] = [];
  for (let nowMs = tickMs; nowMs <= untilMs || head < arrivals.length; nowMs += tickMs) {
    let arrived = 0;
    while (next < arrivals.length && arrivals[next]!.atMs <= nowMs) [next, arrived] = [next + 1, arrived + 1];
    // Each waiting task takes the instance that is free first, as far as that is within the tick.
    while (head < next) {
      const task = arrivals[head]!;
      let best: (typeof instances)[number] | undefined;
      for (const each of instances) if (!each.ends && (best === undefined || freeMs(each) < freeMs(best))) best = each;
      if (best === undefined) break;
      const beginMs = Math.max(freeMs(best), task.atMs);
      if (beginMs >= nowMs) break;
      best.busyUntilMs = beginMs + task.serviceMs;
      latenciesMs[head] = best.busyUntilMs - task.atMs;
      running.push({ untilMs: best.busyUntilMs, serviceMs: task.serviceMs, isWarm: best.isWarm });
      best.isWarm = true;
      head++;
    }
    let [served, servedSum] = [0, 0];
    for (let i = running.length - 1; i >= 0; i--) {
      const task = running[i]!;
      if (task.untilMs > nowMs) continue;
      if (task.isWarm) [served, servedSum] = [served + 1, servedSum + task.serviceMs];
      running.splice(i, 1);
    }
    instanceMs += instances.length * tickMs;
    instances = instances.filter((each) => !each.ends || freeMs(each) > nowMs);
    if (fixed !== undefined) continue;
    const live = instances.filter((each) => !each.ends);
    const load = {
      stage: 's',
      ready: live.filter((each) => each.readyMs <= nowMs).length,
      startingMs: live.filter((each) => each.readyMs > nowMs).map((each) => each.readyMs - nowMs),
      slots: 1,
      queued: next - head,
      running: running.length,
      arrived,
      served,
      servedMs: served > 0 ? servedSum / served : 0,
      hintMs,
      loadMs,
      confirmed,
    };
    const event = decide(load, policy, nowMs, state);
    const { action } = event;
    state = action.state;
    if (action.type === 'hold') continue;
    actions.push({ atMs: nowMs, action });
    events.push(event);
    confirmed = action.number;
    for (let n = live.length; n < action.to; n++) {
      instances.push({ readyMs: nowMs + loadMs, busyUntilMs: 0, isWarm: false, ends: false });
    }
    live.sort((a, b) => freeMs(a) - freeMs(b));
    for (let n = live.length; n > action.to; n--) live[n - 1 - action.to]!.ends = true;
  }
  return { latenciesMs, instanceMs, actions, events };
}

function freeMs(instance: { readyMs: number; busyUntilMs: number }): number {
  return Math.max(instance.readyMs, instance.busyUntilMs);
}

/** The part of latencies within a bound. */
export function partWithin(latenciesMs: readonly number[], boundMs: number): number {
  return latenciesMs.filter((ms) => ms <= boundMs).length / latenciesMs.length;
}
