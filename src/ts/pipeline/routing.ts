// The senders and receivers of each message of one request.
//
// Invariant: receivers() and senders() are each other's inverse: `to` is among the receivers of `from` exactly when
// `from` is among the senders of `to`. So plan and route alone tell a place what to wait for, and nobody has to
// announce it. Everything here is a pure function.
import { GATEWAY_INDEX, type Plan, type PlaceId } from './plan.js';
import { REQUEST, type WorkflowSpec } from './spec.js';

/**
 * The places of one request: for each stage of the spec the number of its instance; {@link ALL} for a stage that every
 * instance works for. The gateway chooses it when it admits the request.
 */
export type Route = ArrayLike<number>;

/** In a {@link Route}: all instances of the plan. */
export const ALL = 0xffff;

/** The graph by index, from which routes are followed: computed once for each spec. */
export interface Graph {
  readonly spec: WorkflowSpec;
  /** For each stage, the indices of the stages that it takes input from; `GATEWAY_INDEX` is the request. */
  readonly before: readonly (readonly number[])[];
  /** For each stage, the indices of the stages that take its output; empty: its output is a result. */
  readonly behind: readonly (readonly number[])[];
  /** The stages that take the request. */
  readonly first: readonly number[];
  /** The stages whose output is the result. */
  readonly last: readonly number[];
  /** For each stage, all stages that its input depends on, as a set of indices. */
  readonly ancestors: readonly ReadonlySet<number>[];
}

/** Reads the graph of a spec. */
export function graphOf(spec: WorkflowSpec): Graph {
  const index = new Map(spec.stages.map((stage, i) => [stage.name, i]));
  const before = spec.stages.map((stage) =>
    stage.after.map((name) => (name === REQUEST ? GATEWAY_INDEX : index.get(name)!)),
  );
  const behind = spec.stages.map((_, i) => before.flatMap((list, j) => (list.includes(i) ? [j] : [])));
  const ancestors: Set<number>[] = [];
  for (const list of before) {
    const all = new Set<number>();
    for (const stage of list) {
      if (stage === GATEWAY_INDEX) continue;
      all.add(stage);
      for (const further of ancestors[stage]!) all.add(further);
    }
    ancestors.push(all);
  }
  return {
    spec,
    before,
    behind,
    first: before.flatMap((list, i) => (list.includes(GATEWAY_INDEX) ? [i] : [])),
    last: behind.flatMap((list, i) => (list.length === 0 ? [i] : [])),
    ancestors,
  };
}

/** The places at which `stage` works for a request. */
export function placesOf(plan: Plan, route: Route, stage: number): readonly number[] {
  const instance = route[stage]!;
  return instance === ALL ? plan.instances[stage]! : [instance];
}

/**
 * The places that take what `from` sends for a request: the instances of the stages behind it, or the gateway that
 * admitted the request.
 *
 * @param gateway the number of that gateway
 */
export function receivers(graph: Graph, plan: Plan, route: Route, gateway: number, from: PlaceId): PlaceId[] {
  if (!takesPart(plan, route, gateway, from)) return [];
  const stages = from.stage === GATEWAY_INDEX ? graph.first : graph.behind[from.stage]!;
  if (stages.length === 0) return [{ stage: GATEWAY_INDEX, instance: gateway }];
  return stages.flatMap((stage) => placesOf(plan, route, stage).map((instance) => ({ stage, instance })));
}

/**
 * The places whose messages `to` waits for: the inverse of {@link receivers}.
 *
 * @param gateway the number of the gateway that admitted the request
 */
export function senders(graph: Graph, plan: Plan, route: Route, gateway: number, to: PlaceId): PlaceId[] {
  if (!takesPart(plan, route, gateway, to)) return [];
  const stages = to.stage === GATEWAY_INDEX ? graph.last : graph.before[to.stage]!;
  return stages.flatMap((stage) =>
    stage === GATEWAY_INDEX
      ? [{ stage, instance: gateway }]
      : placesOf(plan, route, stage).map((instance) => ({ stage, instance })),
  );
}

/** True when the request passes this place. */
export function takesPart(plan: Plan, route: Route, gateway: number, place: PlaceId): boolean {
  if (place.stage === GATEWAY_INDEX) return place.instance === gateway;
  const instance = route[place.stage];
  return instance === ALL ? plan.instances[place.stage]!.includes(place.instance) : instance === place.instance;
}

/**
 * Every place to which `from` may have to send under this plan, whatever the route: its neighbours and all gateways.
 */
export function possibleReceivers(graph: Graph, plan: Plan, from: PlaceId): PlaceId[] {
  if (from.stage === GATEWAY_INDEX) {
    // Also those that take no request: they learn from the gateway that a request has ended.
    return plan.instances.flatMap((list, stage) => list.map((instance) => ({ stage, instance })));
  }
  const next = graph.behind[from.stage]!.flatMap((stage) =>
    plan.instances[stage]!.map((instance) => ({ stage, instance })),
  );
  return [...next, ...plan.gateways.map((instance) => ({ stage: GATEWAY_INDEX, instance }))];
}

/** How many places may send to `to` under this plan. */
export function possibleSenderCount(graph: Graph, plan: Plan, to: PlaceId): number {
  const stages = to.stage === GATEWAY_INDEX ? plan.instances.map((_, i) => i) : graph.before[to.stage]!;
  const count = stages.reduce((sum, stage) => sum + (stage === GATEWAY_INDEX ? 0 : plan.instances[stage]!.length), 0);
  return count + plan.gateways.length;
}
