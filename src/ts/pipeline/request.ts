// A request as its caller states it, and its result.
//
// Invariant: a request is checked completely before anything is done with it.
import { RdmaError } from '../core/errors.js';
import { tellerOf } from '../core/event-teller.js';
import {
  checkAbortSignal,
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  checkString,
  invalidArgument,
} from '../core/validate.js';
import type { Parts } from './body.js';
import type { TaskEvent } from './gateway-options.js';
import type { Meta } from './meta.js';
import type { Spread } from './spec.js';
import type { PieceEvent, PipelinePiece } from './stream-caller.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';
import { contextRecords, readTraceparent, type TraceContext } from './trace-context.js';

/** What a caller asks for. The tensors must stay as they are until the promise of run() settles. */
export interface PipelineRequest {
  meta?: Meta;
  parts?: Parts;
}

/** What a request costs, as its caller knows it. */
export interface RequestCost {
  /** Lower-case letters, digits and dashes, 1 to 63. Requests of one class cost the same for each unit. */
  class: string;
  /** For example frames times steps; a positive number up to 1e12, default 1. */
  units?: number;
}

/** How to run a request. */
export interface RequestOptions {
  /**
   * The request fails with RDMA_ERR_DEADLINE after this many ms, 1 to 2^31 - 1; default never. It is rejected at once
   * when it would be late anyway.
   */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** The result's tensors are views of received memory, until {@link PipelineResult.release}; default false: copies. */
  views?: boolean;
  /**
   * Called with each piece of the result as it comes, for last stages that publish pieces. With `views`, its tensors
   * are views until the request has ended without a result, the result is released, or its stream has `restarted`. What
   * it throws ends the request with RDMA_ERR_HANDLER.
   */
  onPiece?: (event: PieceEvent) => void;
  /**
   * Says where the time went ({@link PipelineResult.trace}); default: of at most a hundred requests a second, and of
   * all whose `traceContext` is sampled.
   */
  trace?: boolean;
  /**
   * The trace of the caller's that the request belongs to. Handlers find it as `task.traceContext` where the request is
   * traced. One that is not well formed is passed over.
   */
  traceContext?: TraceContext;
  /**
   * Whose request it is, 1 to 64 characters; default `default`. Tenants of one priority have shares by their weights.
   */
  tenant?: string;
  /** Requests of a larger number go first, whatever waits behind them, -100 to 100; default 0. */
  priority?: number;
  /** What it costs; default: as much as the others. */
  cost?: RequestCost;
  /**
   * How often to try again when the request is rejected, 0 to 100; default 0. Each time it waits for the `retryAfterMs`
   * of the rejection, and up to a tenth of that longer. The deadline covers all of it.
   */
  retries?: number;
  /**
   * How the request is spread over the instances of stages whose spread is `either`, by name of the stage: `route` (one
   * instance does all of it; default) or `shard` (each does its share).
   */
  spread?: Readonly<Record<string, Spread>>;
  /** Called with what handlers say of their progress; see StageTask.progress(). What it throws becomes a warning. */
  onProgress?: (event: ProgressEvent) => void;
  /** Called when tasks of the request begin and end, and with their progress. What it throws becomes a warning. */
  onTask?: (event: TaskEvent) => void;
  /**
   * The `retryToken` of the rejection after which the request comes again; run() with `retries` does that by itself.
   */
  retryToken?: string;
}

/** How far a task of a request is, as its handler says. */
export interface ProgressEvent {
  readonly request: string;
  readonly stage: string;
  readonly instance: number;
  /** 0 to 1. */
  readonly done: number;
  /** What the handler says beside it. */
  readonly step?: number;
  readonly preview?: string | Uint8Array;
  /**
   * How long the request may take still on the way from here, in ms: at the pace of this task, and what the stages
   * behind usually take; those that have not run yet count as nothing. Missing until there is a pace.
   */
  readonly remainingMs?: number;
}

/** What one instance of a last stage answered. */
export interface PipelineOutput {
  stage: string;
  instance: number;
  meta: Meta;
  parts: Record<string, Tensor>;
  /** What it has published by StageTask.stream(), in order; there when its stage has `maxPieces`. */
  pieces?: PipelinePiece[];
}

/** The result of a request. */
export interface PipelineResult {
  request: string;
  /** Of every last stage, and each of its instances when it is sharded. */
  outputs: PipelineOutput[];
  /** Where the time went; undefined when the request was not traced. */
  trace: Trace | undefined;
  /**
   * How long the gateway expected the request to take when it took it, in ms; undefined without a deadline, and as long
   * as the gateway knows no costs.
   */
  expectedMs: number | undefined;
  /**
   * Gives the memory of views back to the stages that made it; the views must not be used afterwards. With copies, and
   * a second time, it does nothing.
   */
  release(): void;
}

/** The tenant of requests that name none. */
export const DEFAULT_TENANT = 'default';
const CLASS = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** {@link RequestOptions}, checked and complete. */
export interface CheckedOptions {
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly views: boolean;
  readonly onPiece: ((event: PieceEvent) => void) | undefined;
  /** undefined: as the gateway likes. */
  readonly trace: boolean | undefined;
  /** With which its trace begins. */
  readonly traceRecords: Uint8Array;
  readonly tenant: string;
  readonly priority: number;
  /** undefined: no class. */
  readonly costClass: string | undefined;
  readonly units: number;
  readonly retries: number;
  readonly retryToken: string | undefined;
  /** To be checked with the spec: spreadsOf(). */
  readonly spread: Readonly<Record<string, Spread>> | undefined;
  readonly onProgress: ((event: ProgressEvent) => void) | undefined;
  readonly onTask: ((event: TaskEvent) => void) | undefined;
}

const NO_RECORDS = new Uint8Array(0);
const SAMPLED = 1;

/** Of requests without any option: no object is made for them. */
const PLAIN: CheckedOptions = Object.freeze({
  timeoutMs: undefined,
  signal: undefined,
  views: false,
  onPiece: undefined,
  trace: undefined,
  traceRecords: NO_RECORDS,
  tenant: DEFAULT_TENANT,
  priority: 0,
  costClass: undefined,
  units: 1,
  retries: 0,
  retryToken: undefined,
  spread: undefined,
  onProgress: undefined,
  onTask: undefined,
});
const NO_OPTIONS: RequestOptions = Object.freeze({});

/** Checks options. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the option */
export function checkRequestOptions(options: RequestOptions = NO_OPTIONS): CheckedOptions {
  if (options === NO_OPTIONS) return PLAIN;
  checkObject('options', options);
  const {
    timeoutMs,
    views,
    onPiece,
    trace,
    traceContext,
    tenant,
    priority,
    cost,
    retries,
    retryToken,
    spread,
    onProgress,
    onTask,
  } = options;
  const wanted = trace === undefined ? undefined : checkBoolean('trace', trace);
  const traceRecords =
    traceContext === undefined || wanted === false ? NO_RECORDS : recordsOf(traceContext, wanted === true);
  return {
    timeoutMs: timeoutMs === undefined ? undefined : checkInteger('timeoutMs', timeoutMs, 1, 2 ** 31 - 1),
    signal: checkAbortSignal('signal', options.signal),
    views: views !== undefined && checkBoolean('views', views),
    onPiece: onPiece === undefined ? undefined : (checkFunction('onPiece', onPiece) as typeof onPiece),
    trace: traceRecords === NO_RECORDS ? wanted : true,
    traceRecords,
    tenant: tenant === undefined ? DEFAULT_TENANT : checkString('tenant', tenant, { minLength: 1, maxLength: 64 }),
    priority: priority === undefined ? 0 : checkInteger('priority', priority, -100, 100),
    costClass: cost === undefined ? undefined : checkClass(cost),
    units: cost?.units === undefined ? 1 : checkUnits(cost.units),
    retries: retries === undefined ? 0 : checkInteger('retries', retries, 0, 100),
    retryToken: retryToken === undefined ? undefined : checkString('retryToken', retryToken, { maxLength: 64 }),
    spread: spread === undefined ? undefined : checkObject<Record<string, Spread>>('spread', spread),
    onTask: onTask === undefined ? undefined : tellerOf('onTask', checkFunction('onTask', onTask)),
    onProgress: onProgress === undefined ? undefined : tellerOf('onProgress', checkFunction('onProgress', onProgress)),
  };
}

// A context that nobody samples costs nothing on the way.
function recordsOf(context: TraceContext, isWanted: boolean): Uint8Array {
  const span = readTraceparent(checkObject<TraceContext>('traceContext', context).traceparent);
  if (span === undefined || (!isWanted && (span.traceFlags & SAMPLED) === 0)) return NO_RECORDS;
  return contextRecords(span);
}

function checkClass(cost: RequestCost): string {
  checkObject('cost', cost);
  return checkString('cost.class', cost.class, { minLength: 1, maxLength: 63, pattern: CLASS });
}

function checkUnits(units: unknown): number {
  if (typeof units === 'number' && units > 0 && units <= 1e12) return units;
  throw invalidArgument('cost.units', units, 'a positive number up to 1e12');
}

/** The error for a request whose caller does not want it any more. */
export function abortedError(signal: AbortSignal): RdmaError {
  return new RdmaError('RDMA_ERR_ABORTED', 'the request was aborted', { cause: signal.reason });
}
