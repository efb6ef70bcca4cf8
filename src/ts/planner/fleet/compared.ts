// The fleets that are compared: their names, and what is known of one.
//
// Invariant: the order of `FLEETS` is that in which each adds something to the one before.
import type { SimulationResult } from './result.js';
import type { Settings } from './settings.js';

/** The fleets, in the order in which each adds something to the one before. */
export const FLEETS = [
  'mono-fixed',
  'mono-elastic',
  'mono-shared',
  'mono-shared-elastic',
  'staged-fixed',
  'staged-elastic',
  'staged-full',
  'bound',
] as const;

export type FleetName = (typeof FLEETS)[number];

/** One fleet. */
export interface Compared extends Omit<SimulationResult, 'name'> {
  readonly name: FleetName;
  /** Of an elastic fleet. */
  readonly settings: Settings | undefined;
  /** How it was built, for reports. */
  readonly how: string;
  /** One gateway is before all stages; false: each pool has a queue. */
  readonly hasGateway: boolean;
}
