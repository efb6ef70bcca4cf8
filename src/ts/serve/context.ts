// What the routes of one server share.
import type { Parts, RequestCost, WorkflowSpec } from '../pipeline/index.js';
import type { JobDesk } from './desk.js';
import type { Log } from './log.js';
import type { ServerSettings } from './options.js';
import type { DecodedRequest } from './request-body.js';
import type { UploadRoom } from './upload-room.js';

/** A request as a service wants it: with its defaults, and what it costs. */
export interface PreparedRequest {
  meta?: Record<string, unknown>;
  parts?: Parts;
  cost?: RequestCost;
}

/**
 * Looks at a request before it becomes a job: refuses it by an RdmaError RDMA_ERR_INVALID_ARGUMENT, or answers it with
 * its defaults and its cost.
 */
export type Prepare = (request: DecodedRequest) => PreparedRequest | Promise<PreparedRequest>;

/** How the work behind a server is. */
export type Readiness = 'starting' | 'ready' | 'draining' | 'failed';

/** What the routes of one server share. */
export interface ServerContext {
  readonly settings: ServerSettings;
  readonly desk: JobDesk;
  readonly spec: WorkflowSpec;
  readonly version: string;
  readonly log: Log;
  readonly prepare: Prepare | undefined;
  readonly uploads: UploadRoom;
  /** Clients that listen to events, and requests that wait for a result. */
  readonly open: { streams: number; waiting: number };
  readonly readiness: () => Readiness;
  /** While it drains: until when, on the clock of performance.now(). */
  readonly drainEndMs: () => number;
  /** Aborted when whatever still waits is to end. */
  readonly ending: AbortSignal;
}
