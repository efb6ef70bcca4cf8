// Proves over real HTTP and real stages: every form of body becomes the same job, and every form of answer is its
// result; jobs are found, listed, followed, cancelled and submitted twice as one.
import t from 'tap';
import { tensor } from '../../src/ts/pipeline/index.js';
import { decodeMultipart } from '../../src/ts/serve/multipart.js';
import { decodeNpy, encodeNpy } from '../../src/ts/serve/npy.js';
import { decodeSafetensors, encodeSafetensors } from '../../src/ts/serve/safetensors.js';
import { bare, eventsOf, jsonRequest, part, serving, until } from './support.js';

const FLOATS = Float32Array.of(1, 2, 3, 4, 5, 6);
const X = tensor('f32', [2, 3], FLOATS);
const BYTES = Buffer.from(FLOATS.buffer);
const npy = Buffer.concat(encodeNpy(X));

void t.test('jobs', async (t) => {
  const { ask, url, pipeline } = await serving(t);
  const finished = async (init: RequestInit, query = '') => {
    const submitted = await ask(`/v1/jobs${query}`, init);
    t.equal(submitted.status, 202, submitted.body.toString());
    const location = submitted.headers.get('location')!;
    t.equal(location, submitted.json().links.self);
    const result = await ask(`${location}/result?waitMs=30000`);
    t.equal(result.status, 200, result.body.toString());
    return { location, output: result.json().outputs[0] };
  };

  await t.test('a request in JSON comes back in every form', async (t) => {
    const { location, output } = await finished(jsonRequest({ a: 1 }, { x: part('f32', [2, 3], BYTES) }));
    t.strictSame(output, {
      stage: 'act',
      instance: 0,
      meta: { a: 1 },
      parts: { x: { dtype: 'f32', shape: [2, 3], data: BYTES.toString('base64') } },
    });
    const record = (await ask(location)).json();
    t.match(record, { state: 'done', tenant: 'default', priority: 0, requestBytes: 24, resultBytes: 24 });
    t.equal(record.links.result, `${location}/result`);
    const form = await ask(`${location}/result`, { headers: { accept: 'multipart/form-data' } });
    const [head, file] = decodeMultipart(form.body, form.headers.get('content-type')!);
    t.match(JSON.parse(Buffer.from(head!.content).toString()), {
      job: record.id,
      outputs: [{ stage: 'act', meta: { a: 1 }, parts: { x: { dtype: 'f32', content: 'act/0/x' } } }],
    });
    t.equal(file!.name, 'act/0/x');
    t.ok(BYTES.equals(file!.content));
    const whole = await ask(`${location}/result`, { headers: { accept: 'application/x-safetensors' } });
    const { tensors, metadata } = decodeSafetensors(whole.body);
    t.strictSame(tensors['act/0/x'], X);
    t.strictSame(JSON.parse(metadata.outputs!), [{ stage: 'act', instance: 0, meta: { a: 1 } }]);
    const array = await ask(`${location}/result/act/x`, { headers: { accept: 'application/x-npy' } });
    t.strictSame(decodeNpy(array.body), X);
    const none = await ask(`${location}/result`, { headers: { accept: 'text/html' } });
    t.equal(none.status, 406);
    t.match(none.problem(), { code: 'RDMA_ERR_NOT_SUPPORTED', remedy: /application\/json/ });
  });

  await t.test('single parts are bytes, with ranges and tags', async (t) => {
    const { location } = await finished(jsonRequest({}, { x: part('f32', [2, 3], BYTES) }));
    const path = `${location}/result/act/x`;
    const get = (headers: Record<string, string>) => ask(path, { headers });
    const whole = await get({});
    t.ok(whole.body.equals(BYTES));
    t.equal(whole.headers.get('x-tensor-dtype'), 'f32');
    t.equal(whole.headers.get('x-tensor-shape'), '2,3');
    t.equal(whole.headers.get('x-content-type-options'), 'nosniff');
    const etag = whole.headers.get('etag')!;
    const some = await get({ range: 'bytes=4-7' });
    t.equal(some.status, 206);
    t.equal(some.headers.get('content-range'), 'bytes 4-7/24');
    t.ok(some.body.equals(BYTES.subarray(4, 8)));
    const numpy = await get({ range: 'bytes=120-131', accept: 'application/x-npy' });
    t.ok(numpy.body.equals(npy.subarray(120, 132)), 'a range over head and data');
    const outside = await get({ range: 'bytes=24-' });
    t.equal(outside.status, 416);
    t.equal(outside.headers.get('content-range'), 'bytes */24');
    t.equal((await get({ 'if-none-match': etag })).status, 304);
    t.equal((await get({ range: 'bytes=0-0', 'if-range': etag })).status, 206);
    t.equal((await get({ range: 'bytes=0-0', 'if-range': '"other"' })).status, 200);
    const wrong = await ask(`${location}/result/act/y`);
    t.match([wrong.status, wrong.problem().remedy], [404, /act\/x/]);
    t.equal((await ask(`${path}?instance=1`)).status, 404);
  });

  await t.test('forms, raw bodies, .npy and safetensors become the same tensors', async (t) => {
    const form = new FormData();
    form.append('meta', '{"a":2}');
    form.append('x', new Blob([npy]), 'x.npy');
    form.append('pic', new Blob([Uint8Array.of(1, 2)], { type: 'image/png' }), 'p.png');
    const { output, location } = await finished({ method: 'POST', body: form });
    t.strictSame(output.meta, { a: 2, media: { pic: 'image/png' } });
    t.strictSame(output.parts.x, { dtype: 'f32', shape: [2, 3], data: BYTES.toString('base64') });
    t.strictSame(output.parts.pic, { dtype: 'u8', shape: [2], data: 'AQI=' });
    t.equal((await ask(`${location}/result/act/pic`)).headers.get('content-type'), 'image/png');
    const raw = (type: string, body: Uint8Array) => ({ method: 'POST', headers: { 'content-type': type }, body });
    const safe = Buffer.concat(encodeSafetensors({ tensors: { x: X }, metadata: { meta: '{"a":3}' } }));
    t.match((await finished(raw('application/x-safetensors', safe))).output, {
      meta: { a: 3 },
      parts: { x: { shape: [2, 3] } },
    });
    const array = await finished(raw('application/x-npy', npy), `?part=x&meta=${encodeURIComponent('{"a":4}')}`);
    t.match(array.output, { meta: { a: 4 }, parts: { x: { shape: [2, 3] } } });
    const picture = await finished(raw('image/webp', Uint8Array.of(9)));
    t.match(picture.output, { meta: { media: { data: 'image/webp' } }, parts: { data: { shape: [1], data: 'CQ==' } } });
  });

  await t.test('events come as they happen, and again from where a client was', async (t) => {
    const { id } = (await ask('/v1/jobs', jsonRequest({ act: 'wait', ms: 100 }))).json();
    const response = await fetch(`${url}/v1/jobs/${id}/events`);
    t.equal(response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
    const seen = [];
    for await (const event of eventsOf(response)) seen.push(event);
    const kinds = seen.map(({ event }) => event);
    t.equal(kinds[0], 'queued');
    t.equal(kinds.at(-1), 'done');
    t.ok(kinds.includes('progress') && kinds.includes('task'), kinds.join());
    t.ok(seen.some(({ event, data }) => event === 'progress' && data.stage === 'act' && data.done! > 0));
    const numbers = seen.map((event) => event.id);
    t.strictSame(
      numbers,
      [...numbers].sort((a, b) => a - b),
    );
    const again = await fetch(`${url}/v1/jobs/${id}/events`, { headers: { 'last-event-id': String(numbers[1]) } });
    const rest = [];
    for await (const event of eventsOf(again)) rest.push(event);
    t.strictSame(rest, seen.slice(2));
    const over = await ask(`/v1/jobs/${id}/events`, { headers: { 'last-event-id': String(numbers.at(-1)) } });
    t.equal(over.status, 204);
    t.equal((await ask(`/v1/jobs/${id}/events`, { headers: { 'last-event-id': 'x' } })).status, 400);
  });

  await t.test('a job is cancelled, once', async (t) => {
    const { id, links } = (await ask('/v1/jobs', jsonRequest({ act: 'wait', ms: 600_000 }))).json();
    const early = await ask(links.result);
    t.equal(early.status, 202);
    t.equal(early.headers.get('retry-after'), '1');
    t.equal(early.json().id, id);
    t.equal((await ask(`${links.result}?waitMs=20`)).status, 202);
    const first = await ask(links.self, { method: 'DELETE' });
    t.match(first.json(), { cancelled: true, job: { state: 'cancelled' } });
    t.match((await ask(links.self, { method: 'DELETE' })).json(), { cancelled: false, job: { state: 'cancelled' } });
    const result = await ask(links.result);
    t.equal(result.status, 409);
    t.equal(result.problem().code, 'RDMA_ERR_CANCELLED');
    await until('its place is free', () => pipeline.load.inFlight === 0);
  });

  await t.test('a job that fails says why, without a stack', async (t) => {
    const { links } = (await ask('/v1/jobs', jsonRequest({ act: 'throw' }))).json();
    const result = await ask(`${links.result}?waitMs=30000`);
    t.equal(result.status, 500);
    t.match(result.problem(), { code: 'RDMA_ERR_STAGE_FAILED', detail: /act failed: .*it does not work/ });
    t.notMatch(result.body.toString(), /\.js|node:/);
    t.match((await ask(links.self)).json(), { state: 'failed', error: { code: 'RDMA_ERR_STAGE_FAILED' } });
  });

  await t.test('the same key is the same job', async (t) => {
    const headers = { 'idempotency-key': '"order-17"' };
    const first = await ask('/v1/jobs', jsonRequest({ n: 1 }, {}, headers));
    t.equal(first.status, 202);
    t.equal(first.json().id, 'order-17');
    const second = await ask('/v1/jobs', jsonRequest({ n: 1 }, {}, headers));
    t.equal(second.status, 200);
    const run = await ask('/v1/run', jsonRequest({ n: 1 }, {}, headers));
    t.strictSame(run.json().outputs[0].meta, { n: 1 });
    for (const path of ['/v1/jobs', '/v1/run']) {
      const other = await ask(path, jsonRequest({ n: 2 }, {}, headers));
      t.equal(other.status, 422, path);
      t.match(other.problem(), { code: 'RDMA_ERR_CONFLICT', title: 'Unprocessable Content', remedy: /id of its own/ });
    }
    t.equal((await ask('/v1/jobs', jsonRequest({}, {}, { 'idempotency-key': 'a b' }))).status, 400);
  });

  await t.test('a run waits, and answers the whole or one part', async (t) => {
    const run = await ask('/v1/run', jsonRequest({ a: 1 }, { x: part('f32', [2, 3], BYTES) }));
    t.equal(run.status, 200);
    t.match(run.json(), { outputs: [{ meta: { a: 1 } }] });
    t.match((await ask(run.headers.get('location')!)).json(), { state: 'done' });
    const one = await ask('/v1/run?output=act/x', jsonRequest({}, { x: part('f32', [2, 3], BYTES) }));
    t.ok(one.body.equals(BYTES));
    const wrong = await ask('/v1/run?output=look/x', jsonRequest({}));
    t.match([wrong.status, wrong.problem().remedy], [404, /act/]);
    const before = (await ask('/v1/jobs?limit=1000')).json().jobs.length;
    t.equal(
      (
        await ask('/v1/run', {
          ...jsonRequest({}),
          headers: { 'content-type': 'application/json', accept: 'text/html' },
        })
      ).status,
      406,
    );
    t.equal((await ask('/v1/jobs?limit=1000')).json().jobs.length, before, 'what cannot be answered is not done');
    const { status, headers } = await ask('/v1/run?deadlineMs=50', jsonRequest({ act: 'wait', ms: 600_000 }));
    t.equal(status, 504);
    t.match(headers.get('location'), /^\/v1\/jobs\//);
  });

  await t.test('a client that goes away takes its run with it', async () => {
    const { socket, answer } = await bare(url);
    const body = JSON.stringify({ meta: { act: 'wait', ms: 600_000 } });
    socket.write(
      `POST /v1/run HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: gone-1\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await until('it runs', async () => (await ask('/v1/jobs/gone-1')).json().state === 'running');
    socket.destroy();
    await answer;
    await until('it is cancelled', async () => (await ask('/v1/jobs/gone-1')).json().state === 'cancelled');
  });

  await t.test('jobs are listed, the newest first', async (t) => {
    const { jobs } = (await ask('/v1/jobs?state=done&limit=3')).json();
    t.equal(jobs.length, 3);
    t.ok(jobs.every((job: { state: string }) => job.state === 'done'));
    t.ok(jobs[0].submittedAtMs >= jobs[2].submittedAtMs);
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'state=odd', 'other=1']) {
      t.equal((await ask(`/v1/jobs?${query}`)).status, 400, query);
    }
    t.equal((await ask('/v1/jobs/none')).problem().code, 'RDMA_ERR_NOT_FOUND');
  });

  await t.test('priority, deadline, tenant and trace context reach the job', async (t) => {
    const headers = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
    const { links } = (
      await ask('/v1/jobs?priority=-5&tenant=alice&deadlineMs=60000', jsonRequest({}, {}, headers))
    ).json();
    t.match((await ask(links.self)).json(), { priority: -5, tenant: 'alice' });
    t.equal((await ask('/v1/jobs?priority=101', jsonRequest({}))).status, 400);
    t.equal((await ask('/v1/jobs?deadlineMs=0', jsonRequest({}))).status, 400);
    t.equal((await ask('/v1/jobs?costUnits=2', jsonRequest({}))).status, 400);
  });

  await t.test('who cannot be served in time learns when to come back', async (t) => {
    const busy = (await ask('/v1/jobs', jsonRequest({ act: 'wait', ms: 600_000, cost: 10 }))).json();
    await until('it runs', async () => (await ask(busy.links.self)).json().state === 'running');
    const refused = await ask('/v1/jobs?deadlineMs=5000', jsonRequest({ cost: 0.001 }));
    t.equal(refused.status, 429, refused.body.toString());
    const { retryAfterMs, code } = refused.problem();
    t.equal(code, 'RDMA_ERR_REJECTED');
    t.equal(Number(refused.headers.get('retry-after')), Math.ceil(retryAfterMs! / 1000));
    t.match(refused.problem(), { stage: 'act' });
    await ask(busy.links.self, { method: 'DELETE' });
  });
});
