// When the scale policy of each pool is asked, with what, and what its decision starts.
//
// Invariant: a pool has one tick to come that counts: soon after something has changed in it, rarely while nothing
// does. Where decisions need time, an action says what is wanted, and is confirmed when the change that brings it is
// over. Until then the policy decides nothing else, or after `confirmMs` what is wanted by the next change.
import { scale } from '../scaling.js';
import { readyAfterS } from './fleet.js';
import type { Instances } from './instances.js';
import { PlanChange } from './plan-change.js';
import type { PlanDrain } from './plan-drain.js';
import type { Pool } from './pool.js';
import type { Run } from './run.js';
import type { Worker } from './worker.js';

/** How often a policy without work and workers is asked; and how soon, once something comes. */
const AT_REST_S = 60;
const WOKEN_S = 1;

const NONE: readonly Worker[] = [];

export class Scaler {
  private readonly run: Run;
  private readonly instances: Instances;
  /** By pool; undefined: decisions take effect at once. */
  private readonly changes: readonly PlanChange[] | undefined;

  constructor(run: Run, instances: Instances) {
    this.run = run;
    this.instances = instances;
    const { drains, pools } = run;
    const changes = new Map(
      drains?.map((drain) => {
        const own = pools.filter(({ index }) => drains[index] === drain);
        return [drain, new PlanChange(own, drain, instances)] as const;
      }),
    );
    this.changes = drains?.map((drain) => changes.get(drain)!);
  }

  /** An instance has loaded. @returns workers that take tasks from now on */
  loaded(worker: Worker): readonly Worker[] {
    worker.isLoaded = true;
    if (this.changes !== undefined) {
      const change = this.changes[worker.pool]!;
      const used = change.goOn();
      if (!change.isUnderWay) this.isOver(change);
      return used;
    }
    this.instances.use(worker);
    return [worker];
  }

  /** Something has changed in a pool: its policy is asked at the next tick. */
  changed(pool: Pool): void {
    if (pool.spec.policy === undefined) return;
    const { fleet, timeline } = this.run;
    const soonS = pool.isAtRest ? WOKEN_S : fleet.tickS;
    if (pool.nextTickS > timeline.nowS + soonS) this.tickAfter(pool, soonS);
  }

  /** No request is under an earlier plan: pools of the plan whose last action waits for that are asked soon. */
  drained(drain: PlanDrain): void {
    const change = this.changes![this.run.drains!.indexOf(drain)]!;
    if (!change.isUnderWay) this.isOver(change);
  }

  private isOver({ pools }: PlanChange): void {
    for (const pool of pools) if (pool.confirmed < pool.state.actions) this.changed(pool);
  }

  /** Asks the policy of a pool after the usual time. */
  tickLater(pool: Pool): void {
    const { workers, queue, arrived, running } = pool;
    const { tickS, calmTickS = tickS } = this.run.fleet;
    pool.isAtRest = workers.size === 0 && queue.size === 0 && arrived === 0 && running === 0;
    pool.tickStamp++;
    pool.nextTickS = Number.POSITIVE_INFINITY;
    if (pool.isAtRest && pool.state.arrivals.lastMs < 0) return; // nothing has ever come
    this.tickAfter(pool, pool.isAtRest ? Math.max(AT_REST_S, calmTickS) : calmTickS);
  }

  private tickAfter(pool: Pool, afterS: number): void {
    const { timeline } = this.run;
    pool.nextTickS = timeline.nowS + afterS;
    timeline.add(pool.nextTickS, { type: 'tick', pool, stamp: ++pool.tickStamp });
  }

  /**
   * Asks the policy of a pool, and does what it says. Pools of one plan change together: where one acts, all are asked.
   *
   * @param queuedAt what waits at a pool
   * @returns workers that take tasks from now on
   */
  tick(pool: Pool, queuedAt: (pool: Pool) => number): readonly Worker[] {
    const isAction = this.ask(pool, queuedAt(pool));
    const change = this.changes?.[pool.index];
    if (isAction && change !== undefined) {
      for (const other of change.pools) {
        if (other !== pool && other.spec.policy !== undefined) this.ask(other, queuedAt(other));
      }
    }
    const used = change?.begin() ?? NONE;
    this.tickLater(pool);
    return used;
  }

  // Whether the policy acts.
  private ask(pool: Pool, queued: number): boolean {
    const { timeline, tally } = this.run;
    const { nowS } = timeline;
    const startingMs: number[] = [];
    for (const { isEnding, readyS } of pool.starting) {
      if (!isEnding) startingMs.push(Math.max(0, (readyS - nowS) * 1000));
    }
    const live = pool.planned;
    // Of those that leave with the change under way some may start again, as their node has died.
    if (startingMs.length > live) startingMs.length = live;
    const load = {
      stage: pool.spec.name,
      ready: live - startingMs.length,
      startingMs,
      slots: Math.min(128, pool.spec.slots),
      queued,
      running: pool.running,
      arrived: pool.arrived,
      served: pool.served,
      servedMs: pool.served > 0 ? (1000 * pool.servedS) / pool.served : 0,
      hintMs: pool.spec.hintS * 1000,
      loadMs: readyAfterS(pool.spec) * 1000,
      confirmed: pool.confirmed,
    };
    pool.arrived = 0;
    pool.served = 0;
    pool.servedS = 0;
    const change = this.changes?.[pool.index];
    if (change?.isCarriedOut(pool) === true) {
      pool.confirmed = pool.state.actions;
      load.confirmed = pool.confirmed;
    }
    const action = scale(load, pool.spec.policy!, nowS * 1000, pool.state);
    pool.state = action.state;
    if (action.type === 'hold') return false;
    tally.actions++;
    if (change !== undefined) {
      pool.wanted = action.to;
      return true;
    }
    pool.confirmed = action.number;
    if (action.to > live) for (let n = live; n < action.to; n++) this.instances.start(pool);
    else this.instances.giveUp(pool, live - action.to);
    return true;
  }
}
