// The options and events of a pipeline on this host.
//
// Invariant: every option has its unit in its name and its bounds beside it; an option out of bounds is refused before
// anything is started.
import { checkInteger, checkObject, checkString } from '../core/validate.js';
import type { JobStorage } from '../jobs/index.js';
import { checkJobStorage } from '../jobs/storage.js';
import {
  checkTenants,
  DEFAULT_QUEUED_BYTES,
  type GatewayStatus,
  type Plan,
  type StageEvent,
  type StageInstanceStatus,
  type TenantLimits,
} from '../pipeline/index.js';
import type { PipelineMemory } from './memory-needs.js';
import type { Restart, SupervisionStatus } from './place-state.js';

/** How to start a pipeline on this host. */
export interface LocalPipelineOptions {
  /** Name of the device that carries the messages; default `soft0`. */
  device?: string;
  /**
   * Requests that may be under way at a time, 1 to 65536; default 1024. How many there are follows from the stages:
   * each instance is given what it runs and a small prefetch, and the rest waits.
   */
  maxInFlight?: number;
  /**
   * Requests that may wait to be admitted, 0 to 65536; default 256. More are rejected. Where several tenants wait, one
   * that has less than half of an equal share may go beyond.
   */
  maxQueued?: number;
  /** Bytes of their tensors, 0 to 2^53 - 1; default 1 GiB. */
  maxQueuedBytes?: number;
  /** What tenants may have, by name; those that are not named have a weight of 1 and no limits of their own. */
  tenants?: Readonly<Record<string, TenantLimits>>;
  /**
   * How often one instance may be replaced within a minute of its work, 0 to 1000; default 10. It is replaced at once,
   * and later and later when it ends again before it has worked for 0.1 s, 0.2 s, and so on up to 10 s: then that time
   * must pass. One that ends more often is broken: requests that need it are refused, with the reason, and it is tried
   * at least every 30 s. An end while a task ran counts for the request instead, see `attempts` of a stage.
   */
  maxRestarts?: number;
  /**
   * How long the whole start may take, and later each replacement until it is ready, in ms; default 60 000. One that
   * takes longer is ended and replaced. An instance that is not ready again after twice this time is broken, see
   * `maxRestarts`.
   */
  startTimeoutMs?: number;
  /**
   * How long an instance that runs may not answer those that send to it before they give up, in ms; default 60 000.
   * While it is being replaced, nobody gives up.
   */
  reconnectMs?: number;
  /**
   * How long a process polls after something came before it sleeps, in microseconds, 0 to 10 000; default 100. It polls
   * for that long only while that pays. 0 is for machines whose cores have other work.
   */
  pollUs?: number;
  /**
   * How long an instance may be stopped (SIGSTOP) while there is work, in ms, 1 to 2^31 - 1; default 2000. Then it is
   * ended and replaced.
   */
  heartbeatMs?: number;
  /**
   * Where submitted jobs and their results are kept; default in the memory of this process. With a durable one, run()
   * goes through it too. The caller closes it, after the pipeline.
   */
  store?: JobStorage;
  /**
   * How long this process may not be heard of until others on the same store take its jobs over, in ms, 100 to
   * 3 600 000; default 10 000. The same for all of them.
   */
  leaseMs?: number;
  /**
   * Called with what happens. Without it, stages do not report when tasks begin and how far they are. What it throws
   * becomes a warning of Node.js, the first time.
   */
  onEvent?: (event: PipelineEvent) => void;
}

/** What happens in a pipeline. */
export type PipelineEvent =
  | { type: 'ready' }
  | { type: 'stage'; stage: string; instance: number; event: StageEvent }
  | { type: 'restart'; restart: Restart };

/** Answered by {@link LocalPipeline.status}. */
export interface LocalPipelineStatus {
  readonly plan: Plan;
  readonly gateway: GatewayStatus | undefined;
  /** By place (`stage/0`); a process that does not answer within a second is left out. */
  readonly stages: Readonly<Record<string, StageInstanceStatus>>;
  /**
   * What is reserved for the newest plan whether there are requests or not; what they take is under `pool` of each
   * place.
   */
  readonly memory: PipelineMemory;
  /** By place: whether its process works, and how often it was replaced, and why. */
  readonly supervision: Readonly<Record<string, SupervisionStatus>>;
}

/** Options with their defaults. @internal */
export type PipelineSettings = Required<Omit<LocalPipelineOptions, 'onEvent' | 'store'>>;

/** @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkPipelineOptions(options: LocalPipelineOptions): PipelineSettings {
  checkObject('options', options);
  return {
    device: checkString('device', options.device ?? 'soft0', { minLength: 1, maxLength: 64 }),
    maxInFlight: checkInteger('maxInFlight', options.maxInFlight ?? 1024, 1, 65536),
    maxQueued: checkInteger('maxQueued', options.maxQueued ?? 256, 0, 65536),
    maxQueuedBytes: checkInteger('maxQueuedBytes', options.maxQueuedBytes ?? DEFAULT_QUEUED_BYTES, 0),
    tenants: checkTenants(options.tenants ?? {}),
    maxRestarts: checkInteger('maxRestarts', options.maxRestarts ?? 10, 0, 1000),
    startTimeoutMs: checkInteger('startTimeoutMs', options.startTimeoutMs ?? 60_000, 1, 2 ** 31 - 1),
    reconnectMs: checkInteger('reconnectMs', options.reconnectMs ?? 60_000, 1, 2 ** 31 - 1),
    pollUs: checkInteger('pollUs', options.pollUs ?? 100, 0, 10_000),
    heartbeatMs: checkInteger('heartbeatMs', options.heartbeatMs ?? 2000, 1, 2 ** 31 - 1),
    leaseMs: checkInteger('leaseMs', options.leaseMs ?? 10_000, 100, 3_600_000),
  };
}

/** @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkStore(store: unknown): JobStorage | undefined {
  return store === undefined ? undefined : checkJobStorage('store', store);
}
