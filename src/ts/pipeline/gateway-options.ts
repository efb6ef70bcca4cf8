// The options, events and status of a gateway.
//
// Invariant: options are checked before anything is opened; one out of bounds is refused by its name.
import type { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import type { InstanceLoad } from './admission.js';
import type { CostStatus, ServedTasks } from './cost-model.js';
import type { PlaceOptions, PlaceStatus } from './place-options.js';
import type { RejectionReason } from './rejection.js';
import type { TenantStatus } from './request-queue.js';

/** What happens to a request in the places, as far as the gateway knows. */
export interface TaskEvent {
  type: 'task' | 'progress' | 'done' | 'failed';
  request: string;
  stage: string;
  instance: number;
  /** Of `progress`: 0 to 1, and what is known beside it; see ProgressEvent. */
  done?: number;
  step?: number;
  preview?: string | Uint8Array;
  remainingMs?: number;
  /** Of `done`, in microseconds; undefined when the result came before the report of the task. */
  queueUs?: number;
  computeUs?: number;
}

/** What a tenant may have. */
export interface TenantLimits {
  /** Its share, relative to that of others of the same priority, 0.001 to 1000; default 1. */
  weight?: number;
  /** Its requests that may wait, 0 to 65536; default as many as of all. */
  maxQueued?: number;
  /** Bytes of the tensors of its requests that wait, 0 to 2^53 - 1; default as many as of all. */
  maxQueuedBytes?: number;
}

/** How to open a gateway. */
export interface GatewayOptions extends PlaceOptions {
  /** Requests that may be admitted and not ended, whatever room the places have; 1 to 65536. */
  maxInFlight: number;
  /**
   * Requests that may wait to be admitted. Where several tenants wait, one that has less than its half of an equal
   * share may go beyond, so that the others do not keep it out.
   */
  maxQueued: number;
  /** Bytes of their tensors; default 1 GiB. */
  maxQueuedBytes?: number | undefined;
  /** By name; tenants that are not in it have the defaults. */
  tenants?: Readonly<Record<string, TenantLimits>> | undefined;
  /** Called when the gateway cannot go on. */
  onFailed: (reason: RdmaError) => void;
  /** Called with what happens to requests; undefined: places do not report it. */
  onTask?: ((event: TaskEvent) => void) | undefined;
}

/** What waits at a gateway, and what it refused. */
export interface QueueStatus {
  readonly requests: number;
  readonly bytes: number;
  /** For how long the oldest one has waited, in ms. */
  readonly oldestMs: number;
  readonly tenants: readonly TenantStatus[];
  /** By reason, since the start. */
  readonly rejected: Readonly<Partial<Record<RejectionReason, number>>>;
  /** Requests that could not meet their deadline any more when their turn came, since the start. */
  readonly hopeless: number;
  /** Rejected callers that got a time to come back, and the share of such callers that does. */
  readonly reservations: { readonly count: number; readonly keptShare: number };
}

/** Answered by {@link Gateway.status}. */
export interface GatewayStatus extends PlaceStatus {
  readonly queued: number;
  readonly inFlight: number;
  readonly queue: QueueStatus;
  /** What requests cost, and how far off forecasts are on average, as a share of the time. */
  readonly costs: readonly CostStatus[];
  /** Tasks that were done since the start, by stage of the spec. */
  readonly served: readonly ServedTasks[];
  readonly forecasts: number;
  readonly meanError: number | undefined;
  /** Every instance that this gateway sends requests through. */
  readonly instances: readonly (InstanceLoad & { window: number; serviceUs: number | undefined })[];
}

/** Bytes that may wait by default. */
export const DEFAULT_QUEUED_BYTES = 2 ** 30;
const MAX_TENANTS = 65_536;

/** Checks limits of tenants. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming tenant and field */
export function checkTenants(input: unknown): Readonly<Record<string, TenantLimits>> {
  const tenants = checkObject<Record<string, unknown>>('tenants', input);
  const names = Object.keys(tenants);
  checkInteger('the number of tenants', names.length, 0, MAX_TENANTS);
  const checked: Record<string, TenantLimits> = Object.create(null);
  for (const name of names) {
    checkString('the name of a tenant', name, { minLength: 1, maxLength: 64 });
    const { weight, maxQueued, maxQueuedBytes } = checkObject<TenantLimits>(`tenant ${name}`, tenants[name]);
    checked[name] = {
      ...(weight === undefined ? {} : { weight: checkWeight(`weight of tenant ${name}`, weight) }),
      ...(maxQueued === undefined
        ? {}
        : { maxQueued: checkInteger(`maxQueued of tenant ${name}`, maxQueued, 0, 65536) }),
      ...(maxQueuedBytes === undefined
        ? {}
        : { maxQueuedBytes: checkInteger(`maxQueuedBytes of tenant ${name}`, maxQueuedBytes, 0) }),
    };
  }
  return Object.freeze(checked);
}

function checkWeight(name: string, weight: unknown): number {
  if (typeof weight === 'number' && weight >= 0.001 && weight <= 1000) return weight;
  throw invalidArgument(name, weight, 'a number from 0.001 to 1000');
}
