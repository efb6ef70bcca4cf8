// The messages between a supervisor and its worker processes, over Node's IPC.
//
// Invariant: both ends are this package in the same version, one started by the other; nothing here crosses a network.
import type { RdmaErrorJson } from '../core/errors.js';
import {
  BOARD_SLOTS,
  type Plan,
  type RequestAttempt,
  type StageInstanceStatus,
  TaskBoard,
  type WorkflowSizes,
  type WorkflowSpec,
  type PlaceAddress,
  type Via,
} from '../pipeline/index.js';

/** Where every place (`stage/0`) is; missing while it is being replaced. */
export type Routes = Record<string, PlaceAddress>;

export interface WorkerConfig {
  parentPid: number;
  workflow: string;
  module: string;
  sizes: WorkflowSizes;
  /** What the pipeline was started with: the module may have changed since. */
  spec: WorkflowSpec;
  /** Its place, and which process in that place it is. */
  stage: string;
  instance: number;
  incarnation: number;
  plan: Plan;
  /** Older plans under which requests may be on their way still. */
  olderPlans: Plan[];
  device: string;
  otherDevices: readonly string[];
  /** The address of this host that other hosts reach; undefined: 127.0.0.1 only. */
  listenHost: string | undefined;
  /** The folder of its certificate; undefined: no TLS. */
  tlsDir: string | undefined;
  secret: string;
  pollUs: number;
  reconnectMs: number;
  heartbeatMs: number;
  /** CUDA_VISIBLE_DEVICES of the process; undefined: as its supervisor has it. */
  cudaDevices: string | undefined;
  routes: Routes;
  /** Places of older plans that do not come back: it waits for none of them. */
  gone: readonly string[];
  /** Requests that have ended and that it must not run, and requests that it must run alone. */
  barred: readonly RequestAttempt[];
  suspects: readonly RequestAttempt[];
  /** Requests over which a process before it has ended for the last time: it tells their gateways. */
  failures: readonly RequestFailure[];
}

/** Why a request fails. */
export interface RequestFailure {
  request: RequestAttempt;
  code: string;
  message: string;
}

/** The descriptor, in a worker process, of the memory of its {@link TaskBoard}, and how much that is. */
export const BOARD_FD = 4;
export const BOARD_BYTES = TaskBoard.bytesFor(BOARD_SLOTS);

/** What a handler sends by process.send() comes the same way: messages of ours lie under this name. */
const OURS = 'onepiece-rdma';

/** A message as it is sent. */
export function wrap<M extends ToWorker | FromWorker>(message: M): object {
  return { [OURS]: message };
}

/** A message as it was sent; undefined for one that is not ours, whatever it is. */
export function unwrap<M extends ToWorker | FromWorker>(received: unknown): M | undefined {
  return (Object(received) as { [OURS]?: M })[OURS];
}

export type ToWorker =
  | { type: 'start'; config: WorkerConfig }
  | { type: 'routes'; routes: Routes }
  | { type: 'gone'; places: readonly string[] }
  | { type: 'adopt'; plan: Plan }
  | { type: 'retire'; number: number }
  | { type: 'ended'; request: RequestAttempt }
  | { type: 'suspects'; requests: readonly RequestAttempt[] }
  | { type: 'status'; id: number }
  | { type: 'stop' };

export type FromWorker =
  | { type: 'listening'; address: PlaceAddress }
  | { type: 'ready' }
  | { type: 'adopted'; number: number }
  | { type: 'vias'; vias: Readonly<Record<string, Via>> }
  | { type: 'status'; id: number; status: StageInstanceStatus }
  | { type: 'failed'; error: RdmaErrorJson };
