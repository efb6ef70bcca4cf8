// The changes of one plan: from the numbers that its pools want to the instances that serve under it.
//
// Invariant: one change at a time, as the shipped controller makes them. It begins with all numbers that are wanted
// then. Its instances take requests when all of them have loaded, and it is over when no request of the plan before is
// left. What is wanted meanwhile waits for that, so a pool never holds more instances than its policy allows.
import type { Instances } from './instances.js';
import type { PlanDrain } from './plan-drain.js';
import type { Pool } from './pool.js';
import type { Worker } from './worker.js';

const NONE: readonly Worker[] = [];

export class PlanChange {
  /** All pools of the plan. */
  readonly pools: readonly Pool[];
  private readonly drain: PlanDrain;
  private readonly instances: Instances;
  private isStarting = false;

  constructor(pools: readonly Pool[], drain: PlanDrain, instances: Instances) {
    this.pools = pools;
    this.drain = drain;
    this.instances = instances;
  }

  /** A change is not over, so the next one waits. */
  get isUnderWay(): boolean {
    return this.isStarting || !this.drain.isDrained;
  }

  /** A pool has what it wants, and no change is under way. */
  isCarriedOut(pool: Pool): boolean {
    return !this.isUnderWay && pool.planned === pool.wanted;
  }

  /** Begins a change if other numbers are wanted and none is under way. @returns workers that take tasks from now on */
  begin(): readonly Worker[] {
    if (this.isUnderWay || this.pools.every(({ planned, wanted }) => planned === wanted)) return NONE;
    this.isStarting = true;
    for (const pool of this.pools) {
      const more = pool.wanted - pool.planned;
      if (more < 0) pool.leaving = -more;
      for (let n = 0; n < more; n++) this.instances.start(pool);
    }
    return this.goOn();
  }

  /** Goes on when an instance has loaded. @returns workers that take tasks from now on */
  goOn(): readonly Worker[] {
    const loaded: Worker[] = [];
    for (const { starting } of this.pools) {
      for (const worker of starting) {
        if (worker.isLoaded) loaded.push(worker);
        else if (this.isStarting) return NONE;
      }
    }
    for (const worker of loaded) this.instances.use(worker);
    if (this.isStarting) {
      this.isStarting = false;
      this.instances.leave(this.pools, this.drain);
    }
    return loaded;
  }
}
