// The plans that a place works under: the newest, and older ones whose requests may be under way.
//
// Invariant: a plan counts from the moment when the place is connected to all its places. One that is retired while it
// is being connected to does not count at all.
import { type PlaceId, type Plan, placeName } from './plan.js';
import { type Graph, possibleReceivers } from './routing.js';

export class PlacePlans {
  private readonly graph: Graph;
  private readonly self: PlaceId;
  private readonly plans = new Map<number, Plan>();
  private readonly adopting = new Set<Plan>(); // their places are being connected to
  private last: Plan;

  /** @param older plans before `plan` whose requests may be under way still */
  constructor(graph: Graph, self: PlaceId, plan: Plan, older: readonly Plan[]) {
    this.graph = graph;
    this.self = self;
    this.last = plan;
    for (const each of [...older, plan]) this.plans.set(each.number, each);
  }

  get newest(): Plan {
    return this.last;
  }

  get numbers(): number[] {
    return [...this.plans.keys()];
  }

  has(number: number): boolean {
    return this.plans.has(number);
  }

  get(number: number): Plan | undefined {
    return this.plans.get(number);
  }

  /** All places that this one may send to under its plans, by name; also under those that it is about to adopt. */
  targets(): Set<string> {
    const names = new Set<string>();
    for (const plan of [...this.plans.values(), ...this.adopting]) {
      for (const name of this.targetsOf(plan)) names.add(name);
    }
    return names;
  }

  /** The places that this one may send to under a plan, by name. */
  targetsOf(plan: Plan): string[] {
    return possibleReceivers(this.graph, plan, this.self).map((place) => placeName(this.graph.spec, place));
  }

  /**
   * Takes up a plan when its places are connected.
   *
   * @param connecting settles when they are; what it rejects with is thrown
   * @returns false when the plan was retired meanwhile
   */
  async adopt(plan: Plan, connecting: () => Promise<void>): Promise<boolean> {
    // An older plan may be retired meanwhile: what this one needs is not let go of. And it may be retired itself.
    this.adopting.add(plan);
    try {
      await connecting();
      if (!this.adopting.has(plan)) return false;
    } finally {
      this.adopting.delete(plan);
    }
    this.plans.set(plan.number, plan);
    if (plan.number > this.last.number) this.last = plan;
    return true;
  }

  /** Lets go of a plan, but not of the newest. @returns false when there was nothing to let go of */
  retire(number: number): boolean {
    if (number === this.last.number) return false;
    const coming = [...this.adopting].filter((plan) => plan.number === number);
    for (const plan of coming) this.adopting.delete(plan);
    return this.plans.delete(number) || coming.length > 0;
  }
}
