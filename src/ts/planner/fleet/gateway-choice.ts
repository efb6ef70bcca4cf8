// Whether a fleet is simulated behind one gateway.
//
// Invariant: with one gateway only where the workload allows it, the fleet can have one, and every pool stays small.
import { type FaultRates, type FleetSpec, NO_FAULTS } from './fleet.js';
import { isForGateway } from './gateway-model.js';
import type { Workload } from './workload.js';

/** A gateway looks at every instance for every request, so larger pools are simulated with a queue for each. */
const MOST_BEHIND_GATEWAY = 256;

/** A fleet as it is simulated: with one gateway, where the workload asks for it and the fleet can have one. */
export function behindGateway(fleet: FleetSpec, work: Workload, faults: FaultRates = NO_FAULTS): FleetSpec {
  const isSmall = fleet.pools.every(({ fixed, policy }) => (fixed ?? policy!.max) <= MOST_BEHIND_GATEWAY);
  return { ...fleet, hasGateway: work.hasGateway !== false && isSmall && isForGateway(fleet, faults) };
}
