// Proves that a trace goes through the server: from the client's header by the span of its request and that of the
// job's run to those of stages and hops, and to its answer; and that without an SDK the client's own goes with the job.
import { context, type Span, type SpanContext, type SpanOptions, trace } from '@opentelemetry/api';
import t from 'tap';
import type { LocalPipeline } from '../../src/ts/cluster/index.js';
import { Observer, openSpans } from '../../src/ts/observe/index.js';
import { small } from './small.js';
import { jsonRequest, serving, until } from './support.js';

interface Made {
  name: string;
  kind: number | undefined;
  parent: SpanContext | undefined;
  own: SpanContext;
  attributes: Record<string, unknown>;
  ends: number;
}

const made: Made[] = [];

// As an SDK does it: children have the trace of their parent, and every span is sampled.
function startSpan(name: string, { kind, attributes }: SpanOptions = {}, within = context.active()): Span {
  const parent = trace.getSpanContext(within);
  const number = String(made.length + 1);
  const own = { traceId: parent?.traceId ?? number.padStart(32, 'e'), spanId: number.padStart(16, '0'), traceFlags: 1 };
  const one: Made = { name, kind, parent, own, attributes: { ...attributes }, ends: 0 };
  made.push(one);
  const span = {
    isRecording: () => true,
    spanContext: () => own,
    setAttribute: (key: string, value: unknown) => {
      one.attributes[key] = value;
    },
    setStatus: () => {},
    end: () => {
      one.ends++;
    },
  };
  return span as unknown as Span;
}

const TRACE = 'ab'.repeat(16);
const traceparent = `00-${TRACE}-${'cd'.repeat(8)}-01`;

void t.test('with an SDK', async (t) => {
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as never });
  t.teardown(() => trace.disable());
  const spans = openSpans(small.spec, '1.0.0');
  const routes = (_app: unknown, pipeline: LocalPipeline) => void Observer.attach(pipeline, { spans });
  const { ask } = await serving(t, { spans, routes });

  await t.test('a run is one trace, from the client to the hops', async (t) => {
    const answer = await ask('/v1/run', jsonRequest({}, {}, { traceparent, tracestate: 'x=1' }));
    t.equal(answer.status, 200);
    const ended = () => made.length > 2 && made.every(({ ends }) => ends > 0);
    await until('the end of the spans', ended);
    const [server, run, ...others] = made as [Made, Made, ...Made[]];
    t.match(server, { name: 'POST /v1/run', kind: 1, parent: { traceId: TRACE, spanId: 'cd'.repeat(8) } });
    t.match(server.attributes, { 'http.route': '/v1/run', 'http.response.status_code': 200 });
    t.match(run, { name: 'request small', parent: { spanId: server.own.spanId } });
    const names = others.map(({ name }) => name);
    for (const name of ['stage look/0', 'stage act/0', 'hop look/0 → act/0']) t.ok(names.includes(name), name);
    for (const { parent } of others) t.equal(parent?.spanId, run.own.spanId);
    for (const { own, ends } of made) t.strictSame([own.traceId, ends], [TRACE, 1]);
    t.equal(answer.headers.get('traceresponse'), `00-${TRACE}-${server.own.spanId}-01`);
  });

  await t.test('what is refused, streamed and not there has a span too, and health has none', async (t) => {
    made.length = 0;
    const { id } = (await ask('/v1/jobs', jsonRequest({}))).json();
    await ask(`/v1/jobs/${id}/events`);
    await ask('/v1/jobs/none', { headers: { traceparent: 'no trace' } });
    await ask('/secret/path');
    await ask('/livez');
    const servers = () => made.filter(({ kind }) => kind === 1);
    await until('their ends', () => servers().length === 4 && servers().every(({ ends }) => ends === 1));
    t.strictSame(
      servers().map(({ name, attributes }) => [name, attributes['http.response.status_code']]),
      [
        ['POST /v1/jobs', 202],
        ['GET /v1/jobs/:id/events', 200],
        ['GET /v1/jobs/:id', 404],
        ['GET unknown', 404],
      ],
    );
    for (const { parent } of servers()) t.equal(parent, undefined);
  });

  await t.test("a span that is active already takes the place of the server's", async (t) => {
    made.length = 0;
    const active = startSpan('of an instrumentation');
    t.teardown(() => context.disable());
    const given = { getValue: () => active, setValue: () => given, deleteValue: () => given };
    context.setGlobalContextManager({
      active: () => given,
      with: (_: unknown, call: () => unknown) => call(),
      bind: (_: unknown, target: unknown) => target,
      enable: () => ({}),
      disable: () => ({}),
    } as never);
    const span = spans!.serve('GET', '/x', { traceparent });
    t.match(span.context?.traceparent, active.spanContext().spanId);
    span.end(200);
    t.equal(made.length, 1);
    t.equal(made[0]!.ends, 0, 'whoever began it ends it');
  });
});

void t.test('without an SDK nothing is answered', async (t) => {
  const { ask } = await serving(t, { spans: openSpans(small.spec, '1.0.0') });
  const answer = await ask('/v1/run', jsonRequest({}, {}, { traceparent }));
  t.equal(answer.status, 200);
  t.equal(answer.headers.get('traceresponse'), null);
});
