// What a supervisor and its worker processes tell each other over Node's IPC.
//
// Invariant: both ends are this package in the same version, started by one another; nothing here crosses a network.
import type { RdmaErrorJson } from '../core/errors.js';
import type { StageEvent, WorkflowSizes } from '../pipeline/index.js';
import type { InboxAddress } from '../ring/index.js';

/** Where every instance (`stage/0`) is; missing while it is being replaced. */
export type Routes = Record<string, InboxAddress>;

export interface WorkerConfig {
  parentPid: number;
  workflow: string;
  module: string;
  sizes: WorkflowSizes;
  stage: string;
  instance: number;
  device: string;
  secret: string;
  maxInFlight: number;
  reconnectMs: number;
}

export type ToWorker = { type: 'start'; config: WorkerConfig } | { type: 'routes'; routes: Routes } | { type: 'stop' };

export type FromWorker =
  | { type: 'listening'; address: InboxAddress }
  | { type: 'ready' }
  | { type: 'event'; event: StageEvent }
  | { type: 'failed'; error: RdmaErrorJson };
