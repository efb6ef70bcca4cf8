// A fleet: pools of instances, and the route of each model's requests through them.
//
// Invariant: data only, durations and sizes. Shipped code makes the decisions of a pool (queue order, scaling,
// forecast).
import type { ScalePolicy } from '../scaling.js';

/** Instances that are interchangeable. */
export interface PoolSpec {
  readonly name: string;
  /** GPUs of one instance. */
  readonly gpus: number;
  /** GPU memory that an instance needs on each of its GPUs. */
  readonly memoryGB: number;
  /** Until a process has loaded and is ready. */
  readonly loadS: number;
  /** What a new process takes before it loads, where `loadS` is without it; default 0. */
  readonly processS?: number | undefined;
  /** Tasks that an instance runs at a time. */
  readonly slots: number;
  /** How much faster n tasks at once are done than one after the other, for n from 1 on; default 1 for all. */
  readonly gain?: ((tasks: number) => number) | undefined;
  /** How many models' weights an instance holds; 0: every instance runs every model without a swap. */
  readonly resident: number;
  /** To load another model of the same family into a running instance; another family takes `loadS`. */
  readonly swapS: number;
  /** Family of each model; within one, a swap takes `swapS`. undefined: all models are one family. */
  readonly families?: Uint16Array | undefined;
  /** To change the adapter, for requests that need one. */
  readonly adapterS: number;
  /** How long a request may be overtaken by requests for a model that an instance holds. */
  readonly patienceS: number;
  /**
   * Default true: an instance that holds a request's model takes it first. false: what it holds does not count, as at
   * the shipped gateway, which does not know it; `patienceS` has no effect then.
   */
  readonly affinity?: boolean | undefined;
  /** Idle instances load the model that is requested most and held least. */
  readonly prefetch: boolean;
  /** A fixed number of instances; undefined: `policy` decides. */
  readonly fixed?: number | undefined;
  readonly policy?: ScalePolicy | undefined;
  /** The policy's estimate of the cost of a task until it has measured one. */
  readonly hintS: number;
}

/** From the start of a process of a pool until it is ready, in s. */
export function readyAfterS({ processS = 0, loadS }: PoolSpec): number {
  return processS + loadS;
}

/** One step of a request. */
export interface StepSpec {
  /** Index of a pool. */
  readonly pool: number;
  /** Of one unit, alone. */
  readonly seconds: number;
  readonly units: 'input' | 'output' | 'none';
  /** Until the output is at the next step. */
  readonly transferS: number;
}

export interface FleetSpec {
  readonly name: string;
  readonly pools: readonly PoolSpec[];
  /** Steps of each model, in the order of the trace's models. */
  readonly routes: readonly (readonly StepSpec[])[];
  /** Requests that may wait in a pool's queue, as the shipped gateway's `maxQueued`. */
  readonly maxQueued: number;
  /** How often a policy is asked: so soon after something has changed in its pool, ... */
  readonly tickS: number;
  /** ... and so often while nothing changes; default `tickS`. */
  readonly calmTickS?: number | undefined;
  /** undefined: decisions take effect at once, and an instance without a task can be let go of. */
  readonly delays?: ClusterDelays | undefined;
  /**
   * One gateway holds all requests back and chooses the instances of all steps at once, as the shipped one does,
   * whatever models they hold; for a chain of pools without `patienceS` and `prefetch`. false: each pool has a queue,
   * and whoever is free takes the next, before all others one that holds the model.
   */
  readonly hasGateway?: boolean | undefined;
}

/**
 * What a cluster needs to carry out a decision, beside loading. With it an action is carried out, and the next one
 * decided, when its instances are ready and no request of the plan before is left; until then instances that are not
 * wanted any more are held. So does the shipped controller, which changes plans (docs/cluster.md). Pools that no
 * request has in common have plans of their own.
 */
export interface ClusterDelays {
  /** A new process takes so long before it loads, in s, 0 or more; for load times that are without it. */
  readonly processS: number;
  /** What the controller knows is so old, in s, 0 or more. */
  readonly reportS: number;
  /** Between two decisions of the controller, in s, above 0. */
  readonly tickS: number;
}

/**
 * The shipped ones. A process of a stage was ready 1.2 s after its load alone would have taken (docs/planner.md, on
 * busy cores). Gateways report once a second, so what the controller knows is half a second old on average; and it
 * decides once a second.
 */
export const CLUSTER_DELAYS: ClusterDelays = Object.freeze({ processS: 1.2, reportS: 0.5, tickS: 1 });

/** The delays of a workload or a plan: the shipped ones unless it says others, or null for none. */
export function delaysOf({ delays = CLUSTER_DELAYS }: { readonly delays?: ClusterDelays | null | undefined }) {
  return delays;
}

/** Rates of faults. */
export interface FaultRates {
  /** Of each node. */
  readonly nodeDeathsPerHour: number;
  /** Share of slow nodes, 0 to 1, and the factor on their times. */
  readonly slowNodes: number;
  readonly slowFactor: number;
  /** Of the control store; nothing is scaled during an outage. */
  readonly storeOutagesPerHour: number;
  readonly storeOutageS: number;
}

export const NO_FAULTS: FaultRates = Object.freeze({
  nodeDeathsPerHour: 0,
  slowNodes: 0,
  slowFactor: 1,
  storeOutagesPerHour: 0,
  storeOutageS: 0,
});

/** GPUs of a node. */
export const NODE_GPUS = 8;
