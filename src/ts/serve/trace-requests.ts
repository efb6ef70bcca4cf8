// The trace of each request to the server: the client's goes on in it, the job belongs to it, and the answer names it.
//
// Invariant: a span is begun before anything else is done and ended once, with the status or without; without an SDK
// there is nothing of this, and a job belongs to the trace that its client names.
import type { ServerSpan, ServerSpans } from '../observe/spans.js';
import type { TraceContext } from '../pipeline/index.js';
import type { FastifyInstance, FastifyRequest } from './fastify.js';
import type { GuardConfig } from './guard.js';

/** Names the trace in an answer, as `traceparent` does in a request (W3C Trace Context, draft of level 3). */
const TRACE_RESPONSE = 'traceresponse';
const UNKNOWN_ROUTE = 'unknown';

const spans = new WeakMap<FastifyRequest, ServerSpan>();

/** The trace that a request belongs to here; undefined: none was begun. */
export function traceOf(request: FastifyRequest): TraceContext | undefined {
  return spans.get(request)?.context;
}

/** The trace that a client names. */
export function traceOfClient({ headers }: FastifyRequest): TraceContext | undefined {
  const { traceparent, tracestate } = headers;
  if (typeof traceparent !== 'string') return undefined;
  return { traceparent, ...(typeof tracestate === 'string' && tracestate.length <= 512 ? { tracestate } : {}) };
}

/** Begins spans before everything else; those of health checks are none. */
export function traceRequests(app: FastifyInstance, made: ServerSpans): void {
  app.addHook('onRequest', async (request, reply) => {
    if ((request.routeOptions.config as GuardConfig | undefined)?.isOpen) return;
    const span = made.serve(request.method, request.routeOptions.url ?? UNKNOWN_ROUTE, traceOfClient(request));
    spans.set(request, span);
    if (span.context !== undefined) reply.header(TRACE_RESPONSE, span.context.traceparent);
  });
  const end = (request: FastifyRequest, status: number | undefined) => {
    spans.get(request)?.end(status);
    spans.delete(request);
  };
  app.addHook('onResponse', async (request, reply) => end(request, reply.statusCode));
  app.addHook('onRequestAbort', async (request) => end(request, undefined));
}
