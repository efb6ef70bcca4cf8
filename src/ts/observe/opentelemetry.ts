// Spans of OpenTelemetry for requests, their stages and their hops. The only file that loads @opentelemetry/api, an
// optional peer dependency.
//
// Invariant: without an SDK it is not loaded and there are no spans. The spans of stages and hops are made when the
// request has ended, out of its trace, with the times at which things happened.
import type { Attributes, Context, Span, TimeInput, Tracer } from '@opentelemetry/api';
import { isRdmaError, RdmaError } from '../core/errors.js';
import { readTraceparent, type TraceContext, type WorkflowSpec, writeTraceparent } from '../pipeline/index.js';
import type { RequestSpan, RequestSpans, ServerSpan, ServerSpans } from './spans.js';
import { type Segment, timelineOf } from './timeline.js';

type Api = typeof import('@opentelemetry/api');

/** Where the API keeps what an SDK has registered; part of its contract between versions. */
const GLOBAL = Symbol.for('opentelemetry.js.api.1');
const STATUS_ERROR = 2;
const KIND_INTERNAL = 0;
const KIND_SERVER = 1;

/**
 * Spans for the requests of a workflow, when an SDK has registered a tracer provider in this process: register it
 * first.
 *
 * @param version of this package
 * @returns undefined when there is no SDK: nothing is loaded then
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when there is an SDK, and @opentelemetry/api cannot be loaded from here
 */
export function openSpans(spec: WorkflowSpec, version: string): (RequestSpans & ServerSpans) | undefined {
  const registered = (globalThis as { [GLOBAL]?: { trace?: unknown } })[GLOBAL];
  if (registered?.trace === undefined) return undefined;
  const api = loadApi();
  return new Spans(spec, api, api.trace.getTracer('onepiece-rdma', version));
}

class Spans implements RequestSpans, ServerSpans {
  private readonly spec: WorkflowSpec;
  private readonly api: Api;
  private readonly tracer: Tracer;

  constructor(spec: WorkflowSpec, api: Api, tracer: Tracer) {
    this.spec = spec;
    this.api = api;
    this.tracer = tracer;
  }

  // Without a parent of the request's own, what is active in the caller.
  private contextIn(parent: TraceContext | undefined): Context {
    const { api } = this;
    const remote = readTraceparent(parent?.traceparent);
    if (remote === undefined) return api.context.active();
    const { tracestate } = parent!;
    const traceState = typeof tracestate === 'string' ? api.createTraceState(tracestate) : undefined;
    const spanContext = { ...remote, isRemote: true, ...(traceState === undefined ? {} : { traceState }) };
    return api.trace.setSpanContext(api.ROOT_CONTEXT, spanContext);
  }

  // Attributes as OpenTelemetry's "Semantic conventions for HTTP spans" names them.
  serve(method: string, route: string, parent: TraceContext | undefined): ServerSpan {
    const { api, tracer } = this;
    // An instrumentation of HTTP has made one already.
    const active = api.trace.getActiveSpan();
    if (active !== undefined && api.isSpanContextValid(active.spanContext())) {
      return { context: contextOf(active), end: () => {} };
    }
    const attributes = { 'http.request.method': method, 'http.route': route };
    const span = tracer.startSpan(`${method} ${route}`, { kind: KIND_SERVER, attributes }, this.contextIn(parent));
    return {
      context: api.isSpanContextValid(span.spanContext()) ? contextOf(span) : undefined,
      end: (status) => {
        if (status === undefined) span.setAttribute('error.type', 'RDMA_ERR_ABORTED');
        else span.setAttribute('http.response.status_code', status);
        if (status !== undefined && status >= 500) {
          span.setAttribute('error.type', `${status}`);
          span.setStatus({ code: STATUS_ERROR });
        }
        span.end();
      },
    };
  }

  begin(tenant: string, parent: TraceContext | undefined): RequestSpan {
    const { api, tracer, spec } = this;
    const context = this.contextIn(parent);
    const attributes = { 'onepiece.workflow': spec.name, 'onepiece.tenant': tenant };
    const span = tracer.startSpan(`request ${spec.name}`, { kind: KIND_INTERNAL, attributes }, context);
    const inner = api.trace.setSpan(context, span);
    return {
      isRecording: span.isRecording(),
      context: contextOf(span),
      done: (startedAtMs, totalUs, request, trace) => {
        span.setAttribute('onepiece.request', request);
        if (trace !== undefined && span.isRecording()) {
          for (const segment of timelineOf(spec, trace, totalUs)) {
            const { name, attributes } = describe(segment);
            const startTime = timeAt(startedAtMs, segment.startUs);
            const made = tracer.startSpan(name, { kind: KIND_INTERNAL, startTime, attributes }, inner);
            made.end(timeAt(startedAtMs, segment.startUs + segment.durationUs));
          }
        }
        span.end(timeAt(startedAtMs, totalUs));
      },
      failed: (startedAtMs, totalUs, error) => {
        const message = error instanceof Error ? error.message : String(error);
        span.setStatus({ code: STATUS_ERROR, message });
        span.setAttribute('error.type', isRdmaError(error) ? error.code : 'UNKNOWN');
        if (isRdmaError(error) && error.stage !== undefined) span.setAttribute('onepiece.stage', error.stage);
        span.end(timeAt(startedAtMs, totalUs));
      },
    };
  }
}

// As OpenTelemetry takes fractions of a ms: seconds since 1970, and nanoseconds.
function timeAt(startedAtMs: number, us: number): TimeInput {
  const atMs = startedAtMs + us / 1000;
  const seconds = Math.floor(atMs / 1000);
  return [seconds, Math.round((atMs - seconds * 1000) * 1e6)];
}

function describe({ kind, name }: Segment): { name: string; attributes: Attributes } {
  const attributes: Attributes = { 'onepiece.segment': kind };
  if (kind === 'compute' || kind === 'queue') attributes['onepiece.place'] = name;
  if (kind === 'compute') return { name: `stage ${name}`, attributes };
  if (kind === 'queue') return { name: `queue ${name}`, attributes };
  if (kind === 'hop') return { name: `hop ${name}`, attributes };
  return { name: 'gateway', attributes };
}

function contextOf(span: Span): TraceContext {
  const { traceId, spanId, traceFlags, traceState } = span.spanContext();
  const tracestate = traceState?.serialize();
  const traceparent = writeTraceparent({ traceId, spanId, traceFlags });
  return tracestate ? { traceparent, tracestate } : { traceparent };
}

function loadApi(): Api {
  try {
    return require('@opentelemetry/api');
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', 'spans need @opentelemetry/api, which is not installed', {
      remedy: 'npm install @opentelemetry/api',
      cause,
    });
  }
}
