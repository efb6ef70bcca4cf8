// When the scale policy of each pool is asked, with what, and what its decision starts.
//
// Invariant: a pool has one tick to come that counts: soon after something has changed in it, rarely while nothing
// does. Where decisions need time, an action is confirmed when its instances are ready and no request of an earlier
// plan is left; until then the policy decides nothing else.
import { scale } from '../scaling.js';
import { readyAfterS } from './fleet.js';
import type { Instances } from './instances.js';
import type { PlanDrain } from './plan-drain.js';
import type { Pool } from './pool.js';
import type { Run } from './run.js';

/** How often a policy without work and workers is asked; and how soon, once something comes. */
const AT_REST_S = 60;
const WOKEN_S = 1;

export class Scaler {
  private readonly run: Run;
  private readonly instances: Instances;

  constructor(run: Run, instances: Instances) {
    this.run = run;
    this.instances = instances;
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
    const { pools, drains } = this.run;
    for (const pool of pools) {
      if (pool.confirmed < pool.state.actions && drains![pool.index] === drain) this.changed(pool);
    }
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

  /** Asks the policy of a pool, and does what it says. @param queued what waits at the pool */
  tick(pool: Pool, queued: number): void {
    const { pools, timeline, drains, tally } = this.run;
    const { nowS } = timeline;
    const startingMs: number[] = [];
    for (const { isEnding, readyS } of pool.starting) {
      if (!isEnding) startingMs.push(Math.max(0, (readyS - nowS) * 1000));
    }
    const live = pool.workers.size - pool.ending;
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
    const drain = drains?.[pool.index];
    if (drain?.isDrained === true && pools.every((p) => p.starting.size === 0 || drains![p.index] !== drain)) {
      pool.confirmed = pool.state.actions;
      load.confirmed = pool.confirmed;
    }
    const action = scale(load, pool.spec.policy!, nowS * 1000, pool.state);
    pool.state = action.state;
    if (action.type !== 'hold') {
      if (drain === undefined) pool.confirmed = action.number;
      tally.actions++;
      if (action.to > live) for (let n = live; n < action.to; n++) this.instances.start(pool);
      else this.instances.giveUp(pool, live - action.to);
    }
    this.tickLater(pool);
  }
}
