// How to submit a job: the checks.
//
// Invariant: what passes is what will be stored; nothing of a bad option reaches a store.
import { checkInteger, checkObject, checkString } from '../core/validate.js';
import { checkRequestOptions } from '../pipeline/request.js';
import type { SubmitOptions } from './job.js';
import { checkJobId } from './job-id.js';
import type { NewJob } from './store.js';

/** Checked options; without an id when there was none. */
export type CheckedSubmit = Omit<NewJob, 'id' | 'owner'> & { id: string | undefined };

const MAX_MS = 2 ** 31 - 1;
const FINGERPRINT = { pattern: /^[\x21-\x7e]{1,128}$/ };
/** W3C Trace Context, "traceparent Header Field Values", version 00. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** @internal @param nowMs wall clock. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkSubmit(options: SubmitOptions, nowMs: number): CheckedSubmit {
  checkObject('options', options);
  const { id, tenant, priority, cost, spread, deadlineMs, retryToken, trace, fingerprint } = options;
  if (deadlineMs !== undefined) checkInteger('deadlineMs', deadlineMs, 1, MAX_MS);
  const checked = checkRequestOptions({
    ...(tenant === undefined ? {} : { tenant }),
    ...(priority === undefined ? {} : { priority }),
    ...(cost === undefined ? {} : { cost }),
    ...(retryToken === undefined ? {} : { retryToken }),
    ...(spread === undefined ? {} : { spread }),
  });
  const { costClass, units } = checked;
  return {
    id: id === undefined ? undefined : checkJobId(id),
    tenant: checked.tenant,
    priority: checked.priority,
    submittedAtMs: nowMs,
    ...(costClass === undefined ? {} : { cost: { class: costClass, units } }),
    ...(checked.spread === undefined ? {} : { spread: checked.spread }),
    ...(deadlineMs === undefined ? {} : { deadlineAtMs: nowMs + deadlineMs }),
    ...(fingerprint === undefined ? {} : { fingerprint: checkString('fingerprint', fingerprint, FINGERPRINT) }),
    ...(trace === undefined ? {} : { trace: checkTraceContext(trace) }),
  };
}

function checkTraceContext(trace: unknown): { traceparent: string; tracestate?: string } {
  const { traceparent, tracestate } = checkObject<{ traceparent?: unknown; tracestate?: unknown }>('trace', trace);
  const known = { traceparent: checkString('trace.traceparent', traceparent, { pattern: TRACEPARENT }) };
  if (tracestate === undefined) return known;
  return { ...known, tracestate: checkString('trace.tracestate', tracestate, { maxLength: 512 }) };
}
