// The decision whether the processes of an app may let go of a lost place.
//
// Invariant: a place that is taken for lost may still run, and then it reads messages that others have sent to it. So
// senders keep those until no gateway counts on the place: an output made from memory that was given back goes nowhere.
import { placeName, type Plan, stagePlaces, type WorkflowSpec } from '../pipeline/index.js';
import type { GatewayData } from './cluster-records.js';

/** The plans of an app under which requests may be. */
export interface KnownPlans {
  readonly spec: WorkflowSpec;
  readonly plans: readonly Plan[];
}

/**
 * Whether no gateway counts on a lost place any more.
 *
 * @param place such as `square/1`; the newest plan does not have it
 * @param gateways those that are there
 */
export function isGivenUp(
  { spec, plans }: KnownPlans,
  place: string,
  gateways: readonly Pick<GatewayData, 'plans' | 'lost'>[],
): boolean {
  const naming = new Set(plans.filter((plan) => hasPlace(spec, plan, place)).map(({ number }) => number));
  return gateways.every(({ plans: adopted, lost }) => {
    // One of an older release does not say it.
    return lost === undefined || lost.includes(place) || !adopted.some((number) => naming.has(number));
  });
}

function hasPlace(spec: WorkflowSpec, plan: Plan, place: string): boolean {
  return stagePlaces(plan).some((id) => placeName(spec, id) === place);
}
