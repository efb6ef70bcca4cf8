// Proves: without an SDK nothing is loaded and there are no spans; with one, a request has a span within the caller's
// trace, and one for each stage and hop with the times at which they happened.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  context,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  type SpanOptions,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import t from 'tap';
import { Observer, openSpans } from '../../src/ts/observe/index.js';
import { RdmaError, readTraceparent, type Trace } from '../../src/ts/pipeline/index.js';
import { SPEC, ScenePipeline } from './support.js';

interface Made {
  name: string;
  options: SpanOptions;
  parent: SpanContext | undefined;
  own: SpanContext;
  attributes: Record<string, unknown>;
  status: unknown;
  endTime: unknown;
}

const made: Made[] = [];

/** A tracer that writes down what it is asked for. */
function tracer(): Tracer {
  return {
    startSpan(name: string, options: SpanOptions = {}, within = context.active()) {
      const parent = trace.getSpanContext(within);
      const spanId = String(made.length + 1).padStart(16, '0');
      const own = { traceId: parent?.traceId ?? 'f'.repeat(32), spanId, traceFlags: 1, traceState: parent?.traceState };
      const one: Made = {
        name,
        options,
        parent,
        own: own as SpanContext,
        attributes: {},
        status: undefined,
        endTime: undefined,
      };
      made.push(one);
      const span = {
        isRecording: () => true,
        spanContext: () => own,
        setAttribute: (key: string, value: unknown) => {
          one.attributes[key] = value;
        },
        setStatus: (status: unknown) => {
          one.status = status;
        },
        end: (endTime: unknown) => {
          one.endTime = endTime;
        },
      };
      return span as unknown as Span;
    },
  } as unknown as Tracer;
}

const us = ([seconds, nanoseconds]: [number, number]) => seconds * 1e6 + nanoseconds / 1e3;

void t.test('without an SDK the API is not even loaded', async (t) => {
  t.equal(openSpans(SPEC, '1.0.0'), undefined);
  const lib = join(__dirname, '../../src/ts');
  const program = `
    const { openSpans } = require(${JSON.stringify(join(lib, 'observe/index.js'))});
    const spans = openSpans({ name: 'w', stages: [] }, '1.0.0');
    const loaded = Object.keys(require.cache).filter((file) => /node_modules.(@opentelemetry|prom-client|fastify)/.test(file));
    console.log(JSON.stringify({ spans: spans === undefined, loaded }));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { cwd: __dirname, timeout: 60_000 });
  t.strictSame(JSON.parse(stdout), { spans: true, loaded: [] });
});

void t.test('with an SDK a request has spans', async (t) => {
  trace.setGlobalTracerProvider({ getTracer: () => tracer() });
  t.teardown(() => trace.disable());
  const spans = openSpans(SPEC, '1.0.0');
  t.ok(spans);
  const pipeline = new ScenePipeline(() => ({}));
  const observer = Observer.attach(pipeline, { spans });
  t.teardown(() => observer.close());
  const traced: Trace = {
    tasks: [{ stage: 'decode', instance: 1, queueUs: 20, computeUs: 1000 }],
    hops: [
      { from: 'request', fromInstance: 0, to: 'decode', toInstance: 1, bytes: 8, us: 50 },
      { from: 'decode', fromInstance: 1, to: 'result', toInstance: 0, bytes: 8, us: 30 },
    ],
  };
  const traceparent = `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-01`;
  const asked: [unknown, string | undefined][] = [];
  await pipeline.run({ tenant: 'a', traceContext: { traceparent, tracestate: 'x=1' } }, async (options) => {
    asked.push([options.trace, options.traceContext?.traceparent]);
    await new Promise((resolve) => setTimeout(resolve, 5));
    return { request: 'r-1', outputs: [], trace: traced, expectedMs: undefined, release: () => {} };
  });
  const request = made[0]!;
  const own = `00-${'ab'.repeat(16)}-${request.own.spanId}-01`;
  t.strictSame(asked, [[true, own]], 'what has a span is traced, and handlers find that span');
  t.match(request, {
    name: 'request image-to-video',
    parent: { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), isRemote: true },
  });
  t.equal(request.parent?.traceState?.serialize(), 'x=1');
  t.equal(request.attributes['onepiece.request'], 'r-1');
  t.strictSame(
    made.slice(1).map(({ name }) => name),
    ['gateway', 'hop request → decode/1', 'queue decode/1', 'stage decode/1', 'hop decode/1 → result'],
  );
  for (const { parent } of made.slice(1)) t.equal(parent?.spanId, request.own.spanId);
  const stage = made.find(({ name }) => name === 'stage decode/1')!;
  const lengthUs = us(stage.endTime as never) - us(stage.options.startTime as never);
  t.ok(Math.abs(lengthUs - 1000) < 1, `${lengthUs} us`);
  t.ok(us(made.at(-1)!.endTime as never) <= us(request.endTime as never) + 1);
});

void t.test('a failure is one on the span; a trace context that is none begins a new trace', async (t) => {
  made.length = 0;
  trace.setGlobalTracerProvider({ getTracer: () => tracer() });
  t.teardown(() => trace.disable());
  const span = openSpans(SPEC, '1.0.0')!.begin('a', { traceparent: 'nonsense' });
  t.equal(made[0]?.parent, trace.getSpanContext(ROOT_CONTEXT));
  t.match(readTraceparent(span.context.traceparent), { spanId: made[0]?.own.spanId });
  span.failed(Date.now(), 1000, new RdmaError('RDMA_ERR_STAGE_FAILED', 'broken', { stage: 'decode' }));
  t.match(made[0], {
    status: { code: 2 },
    attributes: { 'error.type': 'RDMA_ERR_STAGE_FAILED', 'onepiece.stage': 'decode' },
  });
  t.ok(made[0]?.endTime);
});
