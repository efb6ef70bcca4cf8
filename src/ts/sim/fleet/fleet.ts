// A fleet: pools of instances, and the way of each model's requests through them.
//
// Invariant: data only. What a pool decides with (queue order, scaling, forecast) is the shipped code; what is here are
// durations and sizes.
import type { ScalePolicy } from '../../planner/scaling.js';

/** Instances that are interchangeable. */
export interface PoolSpec {
  readonly name: string;
  /** GPUs of one instance. */
  readonly gpus: number;
  /** What an instance needs on each of them. */
  readonly memoryGB: number;
  /** Until a new instance is ready. */
  readonly loadS: number;
  /** Tasks that an instance runs at a time. */
  readonly slots: number;
  /** How much faster n tasks at once are done than one after the other, for n from 1 on; default 1 for all. */
  readonly gain?: ((tasks: number) => number) | undefined;
  /** Models whose weights an instance holds at a time; 0: whatever comes runs on any instance as it is. */
  readonly resident: number;
  /** To load another model into an instance that runs; where it is of another family, `loadS`. */
  readonly swapS: number;
  /** By model; models of one family have all but `swapS` in common. undefined: all are. */
  readonly families?: Uint16Array | undefined;
  /** To change the adapter, for requests that need one. */
  readonly adapterS: number;
  /** How long a request may be overtaken by others whose model an instance holds. */
  readonly patienceS: number;
  /** An instance without work loads the model that is asked for most and held least. */
  readonly prefetch: boolean;
  /** So many instances at all times; undefined: `policy` decides. */
  readonly fixed?: number | undefined;
  readonly policy?: ScalePolicy | undefined;
  /** What is told to the policy as the cost of a task, before there is a measurement. */
  readonly hintS: number;
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
  /** How often the policies are asked. */
  readonly tickS: number;
}

/** What goes wrong, by rate. */
export interface FaultRates {
  /** Of each node. */
  readonly nodeDeathsPerHour: number;
  /** Part of the nodes that are slow, 0 to 1; and how many times as long they take. */
  readonly slowNodes: number;
  readonly slowFactor: number;
  /** Of the control store: while it is away nothing is scaled. */
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
