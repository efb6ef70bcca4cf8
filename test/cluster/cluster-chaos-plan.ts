// Which blows come in a chaos on a cluster, on whom, and for how long.
//
// Invariant: all of it follows from the seed. Every kind of blow is drawn once before any comes again, so a short run
// sees each of them, too.
import { hash } from '../ring/chaos-plan.js';

export const CLUSTER_FAULTS = [
  'kill node',
  'stop node',
  'kill leader',
  'stop leader',
  'kill worker',
  'stop worker',
  'kill store',
  'stop store',
  'drain node',
  'end node',
  'scale',
  'replace gateway',
  'kill gateway',
  'stop gateway',
] as const;
export type ClusterFault = (typeof CLUSTER_FAULTS)[number];

export interface ClusterBlow {
  readonly fault: ClusterFault;
  /** After how long it is undone, in ms. */
  readonly forMs: number;
  /** Chooses who is hit. */
  readonly victim: number;
  /** To how many instances a stage is scaled. */
  readonly instances: number;
  /** How many requests end until the next blow. */
  readonly requestsAfter: number;
}

/** How blows are drawn. */
export interface BlowsOptions {
  readonly seed: number;
  readonly leaseMs: number;
  /** Requests that end between two blows, on average. */
  readonly between: number;
  readonly only?: readonly ClusterFault[] | undefined;
}

/** Blow `n` of a run, from 0. */
export function clusterBlow(n: number, { seed, leaseMs, between, only = CLUSTER_FAULTS }: BlowsOptions): ClusterBlow {
  const round = Math.floor(n / only.length);
  const draw = (salt: number) => hash(seed, n, salt);
  const drawn = only.map((fault, i) => ({ fault, at: hash(seed, round, i, 1) })).sort((a, b) => a.at - b.at);
  return {
    fault: drawn[n % only.length]!.fault,
    forMs: 50 + (draw(2) % (3 * leaseMs)),
    victim: draw(3),
    instances: 1 + (draw(4) % 3),
    requestsAfter: 1 + (draw(9) % (2 * between)),
  };
}
