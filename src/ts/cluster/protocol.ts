// What a supervisor and its worker processes tell each other over Node's IPC.
//
// Invariant: both ends are this package in the same version, started by one another; nothing here crosses a network.
import type { RdmaErrorJson } from '../core/errors.js';
import type { StageEvent, StageRuntimeOptions, WorkflowSizes } from '../pipeline/index.js';
import type { InboxAddress } from '../ring/index.js';

/** Where every instance (`stage/0`) is; missing while it is being replaced. */
export type Routes = Record<string, InboxAddress>;

export interface WorkerConfig {
  parentPid: number;
  workflow: string;
  module: string;
  sizes: WorkflowSizes;
  /** What the stage is opened with, as far as it can be told. */
  runtime: Omit<StageRuntimeOptions, 'workflow' | 'resolve' | 'onEvent'>;
}

export type ToWorker = { type: 'start'; config: WorkerConfig } | { type: 'routes'; routes: Routes } | { type: 'stop' };

export type FromWorker =
  | { type: 'listening'; address: InboxAddress }
  | { type: 'ready' }
  | { type: 'event'; event: StageEvent }
  | { type: 'failed'; error: RdmaErrorJson };
