// Proves: a Fastify server serves page, snapshot, live snapshots and metrics; a snapshot is encoded once for all
// listeners; one that does not read misses snapshots, is let go in the end, and holds nobody up; a closed pipeline is a
// problem document.
import { connect, type Socket } from 'node:net';
import Fastify, { type FastifyInstance } from 'fastify';
import t from 'tap';
import {
  Observer,
  type ObserverOptions,
  observePlugin,
  type ObservePluginOptions,
} from '../../src/ts/observe/index.js';
import type { Snapshot } from '../../src/ts/observe/snapshot.js';
import { SnapshotStream } from '../../src/ts/observe/snapshot-stream.js';
import { SseParser } from '../../src/ts/observe/sse-parser.js';
import { RdmaError } from '../../src/ts/pipeline/index.js';
import { until, within } from '../pipeline/support.js';
import { type Scene, ScenePipeline } from './support.js';

interface Served {
  app: FastifyInstance;
  url: string;
  port: number;
  pipeline: ScenePipeline;
  observer: Observer;
}

async function serve(
  t: { teardown: (work: () => Promise<void>) => void },
  next: () => Scene = () => ({}),
  options: ObservePluginOptions & ObserverOptions = {},
): Promise<Served> {
  const pipeline = new ScenePipeline(next);
  const observer = Observer.attach(pipeline, { intervalMs: 100, ...options });
  const app = Fastify();
  await app.register(observePlugin(observer, options));
  await app.listen({ port: 0, host: '127.0.0.1' });
  t.teardown(async () => {
    await within('the close', app.close());
    observer.close();
  });
  const { port } = app.server.address() as { port: number };
  return { app, url: `http://127.0.0.1:${port}`, port, pipeline, observer };
}

/** Reads `count` snapshots. */
async function listen(url: string, count: number): Promise<Snapshot[]> {
  const control = new AbortController();
  const response = await fetch(`${url}/v1/status/events`, { signal: control.signal });
  const parser = new SseParser();
  const snapshots: Snapshot[] = [];
  const decoder = new TextDecoder();
  for await (const bytes of response.body!) {
    for (const { event, data } of parser.push(decoder.decode(bytes as Uint8Array, { stream: true }))) {
      if (event === 'snapshot') snapshots.push(JSON.parse(data) as Snapshot);
    }
    if (snapshots.length >= count) break;
  }
  control.abort();
  return snapshots;
}

void t.test('page, snapshot and metrics', async (t) => {
  const { url } = await serve(t);
  const page = await fetch(url);
  t.equal(page.status, 200);
  t.match(page.headers.get('content-security-policy'), /default-src 'none'.*script-src 'sha256-/);
  const html = await page.text();
  t.notMatch(html, /(src|href)=["']?(https?:)?\/\//);
  t.match(html, /Leon Sorokin/, 'the licence of uPlot');
  t.match(html, /Chris Pettitt/, 'and of dagre');
  const status = await fetch(`${url}/v1/status`);
  t.match(status.headers.get('content-type'), /application\/json/);
  t.match(await status.json(), { schemaVersion: 1, workflow: 'image-to-video', state: 'ready' });
  const metrics = await fetch(`${url}/metrics`);
  t.match(metrics.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  t.match(await metrics.text(), /^onepiece_gateway_in_flight 0$/m);
});

void t.test('many listeners share one look and one encoding', async (t) => {
  const { url, pipeline } = await serve(t);
  const encode = JSON.stringify;
  let encoded = 0;
  JSON.stringify = ((value: unknown, ...rest: []) => {
    if ((value as Snapshot | undefined)?.schemaVersion === 1) encoded++;
    return encode(value, ...rest);
  }) as typeof JSON.stringify;
  t.teardown(() => {
    JSON.stringify = encode;
  });
  const all = await within('40 listeners', Promise.all(Array.from({ length: 40 }, () => listen(url, 3))));
  for (const snapshots of all) {
    const times = snapshots.map(({ atMs }) => atMs);
    t.strictSame(
      times,
      [...new Set(times)].sort((a, b) => a - b),
      'each once, in order',
    );
  }
  t.ok(encoded <= pipeline.asked, `${encoded} encodings of ${pipeline.asked} looks`);
  await until('the rest', () => {
    const { asked } = pipeline;
    return asked === pipeline.asked;
  });
  const { asked } = pipeline;
  await new Promise((resolve) => setTimeout(resolve, 400));
  t.ok(pipeline.asked <= asked + 1, 'nobody listens: nobody looks');
});

void t.test('who does not read misses snapshots, is let go, and holds nobody up', async (t) => {
  // Large enough for any buffer of the kernel to be full soon.
  const tenants = Array.from({ length: 900 }, (_, i) => ({
    tenant: `${i}`.padEnd(64, 'x'),
    priority: 0,
    requests: 1,
    bytes: 1,
  }));
  const { url, port } = await serve(t, () => ({ queue: { requests: 900, tenants } }), {
    maxTenants: 1000,
    stuckMs: 1500,
  });
  const sleeper = await open(port);
  t.teardown(() => sleeper.destroy());
  sleeper.write('GET /v1/status/events HTTP/1.1\r\nHost: x\r\n\r\n');
  sleeper.pause();
  let closed = false;
  sleeper.on('close', () => {
    closed = true;
  });
  sleeper.on('error', () => {});
  const awake = await within('the one who reads', listen(url, 30), 30_000);
  t.equal(awake.length, 30);
  // The server lets go of it; its own end is seen when it reads.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  sleeper.resume();
  await until('the end of the sleeper', () => closed, 20_000);
});

void t.test('listeners beyond the limit get a time to come back', async (t) => {
  const { url } = await serve(t, () => ({}), { maxListeners: 1 });
  const control = new AbortController();
  t.teardown(() => control.abort());
  const first = await fetch(`${url}/v1/status/events`, { signal: control.signal });
  t.equal(first.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  const second = await fetch(`${url}/v1/status/events`);
  t.equal(second.status, 503);
  t.ok(Number(second.headers.get('retry-after')) > 0);
  t.match(await second.json(), { code: 'RDMA_ERR_BUSY', status: 503 });
});

void t.test('a closed pipeline is a problem document', async (t) => {
  const { url } = await serve(t, () => {
    throw new RdmaError('RDMA_ERR_CLOSED', 'the pipeline is closed');
  });
  for (const path of ['/v1/status', '/metrics']) {
    const answer = await fetch(`${url}${path}`);
    t.equal(answer.status, 503, path);
    t.match(answer.headers.get('content-type'), /problem\+json/);
    t.match(await answer.json(), { code: 'RDMA_ERR_CLOSED' });
  }
});

void t.test('a response that is gone before it begins is no listener', async (t) => {
  const observer = Observer.attach(new ScenePipeline(() => ({})));
  t.teardown(() => observer.close());
  const stream = new SnapshotStream(observer);
  const gone = { destroyed: true, on: () => gone, write: () => t.fail('written') };
  stream.add(gone as never);
  t.equal(stream.status.listeners, 0);
  t.throws(() => new SnapshotStream(observer, { maxListeners: 0 }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});

void t.test('events are read however they are cut', async (t) => {
  const text = ': hello\r\nevent: a\ndata: 1\ndata: 2\r\n\r\ndata:x\n\nevent: none\n\n';
  const expected = [
    { event: 'a', data: '1\n2' },
    { event: 'message', data: 'x' },
  ];
  for (let size = 1; size <= text.length; size++) {
    const parser = new SseParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    t.strictSame(events, expected, `${size} at a time`);
  }
});

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    socket.once('error', reject);
  });
}
