// Jobs by HTTP: submit, list, look, cancel.
//
// Invariant: a tenant sees and touches its own jobs only; an answer of 202 means that the job is stored.
import { isRdmaError } from '../core/errors.js';
import { notFound } from '../jobs/job-id.js';
import type { Job, JobRecord, JobState, SubmitOptions } from '../jobs/index.js';
import type { PreparedRequest, ServerContext } from './context.js';
import type { FastifyInstance, FastifyRequest } from './fastify.js';
import { fingerprintOf } from './fingerprint.js';
import { accessOf, releaseBody } from './guard.js';
import { httpError } from './problem.js';
import { register } from './register.js';
import { decodeBody } from './request-body.js';
import { ROUTES } from './routes.js';
import { JOB_ID_PATTERN } from './schemas.js';
import { badBody } from './tensor-bytes.js';
import { traceOf, traceOfClient } from './trace-requests.js';

const JOB_ID = new RegExp(JOB_ID_PATTERN);
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;
const DEFAULT_LISTED = 100;
const MAX_LISTED = 1000;

/** The query of a submission. */
export interface SubmitQuery {
  part?: string;
  meta?: string;
  tenant?: string;
  priority?: string;
  deadlineMs?: string;
  costClass?: string;
  costUnits?: string;
}

/** A job as it is answered. */
export function jobDocument(record: JobRecord): object {
  const self = jobUrl(record.id);
  return { ...record, links: { self, result: `${self}/result`, events: `${self}/events`, pieces: `${self}/pieces` } };
}

/** Where a job is found. */
export const jobUrl = (id: string): string => `/v1/jobs/${encodeURIComponent(id)}`;

/**
 * Finds a job that whoever asks may see.
 *
 * @throws RdmaError RDMA_ERR_NOT_FOUND
 */
export async function findJob(
  id: string,
  request: FastifyRequest,
  { desk }: ServerContext,
): Promise<{ job: Job; record: JobRecord }> {
  const job = await desk.job(id);
  const record = await job.record();
  const access = accessOf(request);
  if (access !== undefined && record.tenant !== access.tenant) throw notFound(id); // as if there were none
  return { job, record };
}

/**
 * Takes a submission: reads its body, prepares it, and stores it.
 *
 * @returns the job, and whether it was made by this request
 */
export async function submitJob(
  request: FastifyRequest,
  context: ServerContext,
): Promise<{ job: Job; record: JobRecord; isNew: boolean }> {
  const query = request.query as SubmitQuery;
  const options = submitOptions(query, request);
  const id = options.id;
  const known = id === undefined ? undefined : await jobOfKey(id, context);
  // The answer says nothing of another tenant, not even whether the request is the same.
  if (known !== undefined) await findOwn(known.id, known, options.tenant);
  const decoded = decodeBody(request.headers['content-type'], request.body, query);
  // Of what was sent: a preparation may add what is different each time.
  if (id !== undefined) options.fingerprint = await fingerprintOf(decoded);
  const prepared: PreparedRequest = context.prepare === undefined ? decoded : await context.prepare(decoded);
  const { cost } = prepared;
  const job = await context.desk.submit(
    { meta: prepared.meta ?? {}, parts: prepared.parts ?? {} },
    cost === undefined ? options : { ...options, cost },
  );
  releaseBody(request);
  return { ...(await findOwn(job.id, job, options.tenant)), isNew: known === undefined };
}

async function jobOfKey(id: string, { desk }: ServerContext): Promise<Job | undefined> {
  try {
    return await desk.job(id);
  } catch (error) {
    if (isRdmaError(error) && error.code === 'RDMA_ERR_NOT_FOUND') return undefined;
    throw error;
  }
}

// Another tenant's job of the same key is neither shown nor done again.
async function findOwn(id: string, job: Job, tenant: string | undefined): Promise<{ job: Job; record: JobRecord }> {
  const record = await job.record();
  if (record.tenant === tenant) return { job, record };
  throw httpError(409, 'RDMA_ERR_REFUSED', `the key ${id} is taken`, { remedy: 'choose a random one' });
}

function submitOptions(query: SubmitQuery, request: FastifyRequest): SubmitOptions {
  const { headers } = request;
  const access = accessOf(request);
  if (access !== undefined && query.tenant !== undefined && query.tenant !== access.tenant) {
    throw httpError(403, 'RDMA_ERR_REFUSED', 'the token is of another tenant', { remedy: 'leave the tenant out' });
  }
  const options: SubmitOptions = { tenant: access?.tenant ?? query.tenant ?? 'default' };
  const key = headers['idempotency-key'];
  if (key !== undefined) options.id = idOfKey(String(key));
  if (query.priority !== undefined) options.priority = Number(query.priority);
  if (access !== undefined && (options.priority ?? 0) > access.maxPriority) {
    throw httpError(403, 'RDMA_ERR_REFUSED', `the highest priority of this token is ${access.maxPriority}`);
  }
  if (query.deadlineMs !== undefined) options.deadlineMs = Number(query.deadlineMs);
  if (query.costClass !== undefined) options.cost = { class: query.costClass, units: Number(query.costUnits ?? 1) };
  else if (query.costUnits !== undefined) throw badBody('costUnits needs a costClass');
  const retryToken = headers['retry-token'];
  if (typeof retryToken === 'string') options.retryToken = retryToken;
  const trace = traceOf(request) ?? traceOfClient(request);
  if (trace !== undefined && TRACEPARENT.test(trace.traceparent)) options.trace = trace;
  return options;
}

// The draft of the header quotes its value (draft-ietf-httpapi-idempotency-key-header); most clients do not.
function idOfKey(key: string): string {
  const id = /^"(.*)"$/.exec(key)?.[1] ?? key;
  if (JOB_ID.test(id)) return id;
  throw badBody('the Idempotency-Key must be 1 to 128 of A-Z a-z 0-9 . _ : -', 'a UUID is one');
}

/** Adds the routes. */
export function jobRoutes(app: FastifyInstance, context: ServerContext): void {
  const { desk } = context;
  register(app, ROUTES.submit, async (request, reply) => {
    const { record, isNew } = await submitJob(request, context);
    return reply
      .code(isNew ? 202 : 200)
      .header('location', jobUrl(record.id))
      .send(jobDocument(record));
  });
  register(app, ROUTES.list, async (request) => {
    const { state, limit } = request.query as { state?: JobState; limit?: string };
    const most = Number(limit ?? DEFAULT_LISTED);
    if (most < 1 || most > MAX_LISTED) throw badBody(`limit must be from 1 to ${MAX_LISTED}`);
    const access = accessOf(request);
    const records = await desk.jobs({
      limit: most,
      ...(access === undefined ? {} : { tenant: access.tenant }),
      ...(state === undefined ? {} : { state }),
    });
    return { jobs: records.map(jobDocument) };
  });
  register(app, ROUTES.show, async (request) => {
    const { record } = await findJob((request.params as { id: string }).id, request, context);
    return jobDocument(record);
  });
  register(app, ROUTES.cancel, async (request) => {
    const { job } = await findJob((request.params as { id: string }).id, request, context);
    const cancelled = await job.cancel();
    return { cancelled, job: jobDocument(await job.record()) };
  });
}
