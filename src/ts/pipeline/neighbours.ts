// The places before and behind a place, for each request that passes it.
//
// Invariant: they follow from plan, gateway and route alone, by routing.ts. The last answers are kept, as most requests
// in a row go the same way: to ask again makes no object.
import { type PlaceId, type Plan, placeName } from './plan.js';
import { type Graph, receivers, senders } from './routing.js';

/** Who sends to a place. */
export interface KnownSenders {
  readonly plan: Plan;
  readonly senders: readonly PlaceId[];
}

export class Neighbours {
  private readonly graph: Graph;
  private readonly self: PlaceId;
  private readonly flaw: string | undefined;
  // The last answers, by what they depend on.
  private lastSenders: (KnownSenders & { gateway: number; route: Uint16Array }) | undefined;
  private lastReceivers: { plan: Plan; gateway: number; route: Uint16Array; names: readonly string[] } | undefined;

  constructor(graph: Graph, self: PlaceId, flaw: string | undefined) {
    this.graph = graph;
    this.self = self;
    this.flaw = flaw;
  }

  /** The places that send an input of a request to this one; none when it does not pass this place. */
  sendersOf(plan: Plan, gateway: number, route: Uint16Array): KnownSenders {
    const last = this.lastSenders;
    if (last !== undefined && last.plan === plan && last.gateway === gateway && sameRoute(last.route, route))
      return last;
    const all = senders(this.graph, plan, route, gateway, this.self);
    const places = this.flaw === 'wrong-inverse' ? all.slice(0, 1) : all;
    this.lastSenders = { plan, gateway, route: route.slice(), senders: places };
    return this.lastSenders;
  }

  /** The places that take an output of this one, by name. */
  receiversOf(plan: Plan, gateway: number, route: Uint16Array): readonly string[] {
    const last = this.lastReceivers;
    if (last !== undefined && last.plan === plan && last.gateway === gateway && sameRoute(last.route, route)) {
      return last.names;
    }
    const places = receivers(this.graph, plan, route, gateway, this.self);
    const names = places.map((place) => placeName(this.graph.spec, place));
    this.lastReceivers = { plan, gateway, route: route.slice(), names };
    return names;
  }
}

function sameRoute(a: Uint16Array, b: Uint16Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
