// How to submit a job: the checks.
//
// Invariant: what passes is what will be stored; nothing of a bad option reaches a store.
import { checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import type { NewJob } from './store.js';
import type { SubmitOptions } from './job.js';
import { checkJobId } from './job-id.js';

/** Checked options; without an id when there was none. */
export type CheckedSubmit = Omit<NewJob, 'id' | 'owner'> & { id: string | undefined };

const MAX_MS = 2 ** 31 - 1;
const CLASS = /^[a-z0-9-]{1,63}$/;
/** W3C Trace Context, "traceparent Header Field Values", version 00. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** @internal @param nowMs wall clock. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkSubmit(options: SubmitOptions, nowMs: number): CheckedSubmit {
  checkObject('options', options);
  const { id, tenant = 'default', priority = 0, cost, deadlineMs, trace } = options;
  if (deadlineMs !== undefined) checkInteger('deadlineMs', deadlineMs, 1, MAX_MS);
  return {
    id: id === undefined ? undefined : checkJobId(id),
    tenant: checkString('tenant', tenant, { minLength: 1, maxLength: 64 }),
    priority: checkInteger('priority', priority, -100, 100),
    submittedAtMs: nowMs,
    ...(cost === undefined ? {} : { cost: checkCost(cost) }),
    ...(deadlineMs === undefined ? {} : { deadlineAtMs: nowMs + deadlineMs }),
    ...(trace === undefined ? {} : { trace: checkTraceContext(trace) }),
  };
}

function checkCost(cost: unknown): { class: string; units?: number } {
  const { class: name, units } = checkObject<{ class?: unknown; units?: unknown }>('cost', cost);
  const known = { class: checkString('cost.class', name, { pattern: CLASS }) };
  if (units === undefined) return known;
  if (typeof units === 'number' && Number.isFinite(units) && units > 0) return { ...known, units };
  throw invalidArgument('cost.units', units, 'a positive number');
}

function checkTraceContext(trace: unknown): { traceparent: string; tracestate?: string } {
  const { traceparent, tracestate } = checkObject<{ traceparent?: unknown; tracestate?: unknown }>('trace', trace);
  const known = { traceparent: checkString('trace.traceparent', traceparent, { pattern: TRACEPARENT }) };
  if (tracestate === undefined) return known;
  return { ...known, tracestate: checkString('trace.tracestate', tracestate, { maxLength: 512 }) };
}
