// Plans in the simulation: what a change of plan has to wait for.
//
// Invariant: a request belongs to the plan under which its first task began, to its end. Workers that a plan does not
// have any more are given up when no request of an earlier plan is left, the earliest first.
import type { FleetSpec } from './fleet.js';
import type { Worker } from './worker.js';

/** Which plan each pool is part of, by pool: pools on the way of one request have one plan, as stages of one app. */
export function plansOf({ pools, routes }: FleetSpec): number[] {
  const plan = pools.map((_, i) => i);
  for (const route of routes) {
    const joined = new Set(route.map(({ pool }) => plan[pool]!));
    const least = Math.min(...joined);
    if (joined.size > 1) for (let i = 0; i < plan.length; i++) if (joined.has(plan[i]!)) plan[i] = least;
  }
  return plan;
}

const NONE: readonly Worker[] = [];

export class PlanDrain {
  private plan = 0;
  private oldest = 0;
  private readonly underWay: number[] = [0]; // requests by plan
  private readonly leaving: { readonly plan: number; readonly workers: readonly Worker[] }[] = [];

  /** A request begins. @returns its plan */
  begun(): number {
    this.underWay[this.plan]!++;
    return this.plan;
  }

  /** A request has ended. @returns workers that nobody needs any more */
  ended(plan: number): readonly Worker[] {
    return --this.underWay[plan]! > 0 ? NONE : this.released();
  }

  /** The next plan begins, without these workers. @returns workers that nobody needs any more */
  change(workers: readonly Worker[]): readonly Worker[] {
    this.plan++;
    this.underWay.push(0);
    if (workers.length > 0) this.leaving.push({ plan: this.plan, workers });
    return this.released();
  }

  /** No request is under an earlier plan. */
  get isDrained(): boolean {
    return this.oldest === this.plan;
  }

  private released(): readonly Worker[] {
    while (this.oldest < this.plan && this.underWay[this.oldest] === 0) this.oldest++;
    if (this.leaving.length === 0 || this.leaving[0]!.plan > this.oldest) return NONE;
    const free: Worker[] = [];
    while (this.leaving.length > 0 && this.leaving[0]!.plan <= this.oldest) free.push(...this.leaving.shift()!.workers);
    return free;
  }
}

/** By pool; pools of one plan have the same. */
export function drainsOf(fleet: FleetSpec): PlanDrain[] {
  const drains = new Map<number, PlanDrain>();
  return plansOf(fleet).map((plan) => {
    const drain = drains.get(plan) ?? new PlanDrain();
    drains.set(plan, drain);
    return drain;
  });
}
