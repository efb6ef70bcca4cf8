// Proves over real HTTP: whatever a client makes large, slow, broken or foreign is refused with a problem document, and
// the server goes on.
import t from 'tap';
import { asker, bare, jsonRequest, serving, until } from './support.js';

const raw = (type: string, body: Uint8Array | string, method = 'POST') => ({
  method,
  headers: { 'content-type': type },
  body,
});

void t.test('limits', async (t) => {
  const { ask, url, server } = await serving(t, {
    maxBodyBytes: 4096,
    maxJsonBytes: 2048,
    maxHeaderBytes: 4096,
    maxUploadBytes: 6000,
    headersTimeoutMs: 400,
    requestTimeoutMs: 800,
    maxStreams: 1,
    maxWaiting: 1,
    eventIntervalMs: 20,
  });
  const still = async () => (await ask('/livez')).status === 200;

  await t.test('bodies that are too large, malformed or of another type', async (t) => {
    const cases: [string, RequestInit, number, string][] = [
      ['large', raw('application/octet-stream', Buffer.alloc(4097)), 413, 'RDMA_ERR_MESSAGE_TOO_LARGE'],
      [
        'large JSON',
        raw('application/json', `{"meta":{"a":"${'x'.repeat(3000)}"}}`),
        413,
        'RDMA_ERR_MESSAGE_TOO_LARGE',
      ],
      ['no JSON', raw('application/json', '{'), 400, 'RDMA_ERR_INVALID_ARGUMENT'],
      ['prototype', raw('application/json', '{"meta":{"__proto__":{"a":1}}}'), 400, 'RDMA_ERR_INVALID_ARGUMENT'],
      ['not an object', raw('application/json', '[]'), 400, 'RDMA_ERR_INVALID_ARGUMENT'],
      ['another key', raw('application/json', '{"other":1}'), 400, 'RDMA_ERR_INVALID_ARGUMENT'],
      [
        'text for a number',
        jsonRequest({}, { x: { dtype: 'u8', shape: ['1'], data: 'AA==' } }),
        400,
        'RDMA_ERR_INVALID_ARGUMENT',
      ],
      [
        'no base64',
        jsonRequest({}, { x: { dtype: 'u8', shape: [1], data: 'A*==' } }),
        400,
        'RDMA_ERR_INVALID_ARGUMENT',
      ],
      [
        'shape and data',
        jsonRequest({}, { x: { dtype: 'u8', shape: [2], data: 'AA==' } }),
        400,
        'RDMA_ERR_INVALID_ARGUMENT',
      ],
      ['dtype', jsonRequest({}, { x: { dtype: 'u7', shape: [1], data: 'AA==' } }), 400, 'RDMA_ERR_INVALID_ARGUMENT'],
      ['no form', raw('multipart/form-data; boundary=b', 'x'), 400, 'RDMA_ERR_INVALID_ARGUMENT'],
      ['no array', raw('application/x-npy', 'x'), 400, 'RDMA_ERR_INVALID_ARGUMENT'],
      ['type', raw('text/html', '<p>'), 415, 'RDMA_ERR_NOT_SUPPORTED'],
      ['no type', { method: 'POST', body: new Blob(['x']) }, 415, 'RDMA_ERR_NOT_SUPPORTED'],
      ['method', raw('application/json', '{}', 'PUT'), 405, 'RDMA_ERR_NOT_SUPPORTED'],
    ];
    for (const [name, init, status, code] of cases) {
      const answer = await ask('/v1/jobs', init);
      t.equal(answer.status, status, name);
      t.match(answer.problem(), { code, status, instance: /^urn:request:/ }, name);
    }
    t.equal((await ask('/v1/jobs', { method: 'PUT' })).headers.get('allow'), 'POST, GET');
    t.equal((await ask('/nowhere')).problem().code, 'RDMA_ERR_NOT_FOUND');
    t.equal((await ask('/v1/jobs/%ff')).status, 400);
    t.equal((await ask(`/v1/jobs/${'x'.repeat(129)}`)).status, 400);
  });

  await t.test('headers that are too large, and what is not HTTP', async (t) => {
    const cases: [string, RegExp][] = [
      [
        `GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(5000)}\r\n\r\n`,
        /^HTTP\/1\.1 431 .*RDMA_ERR_MESSAGE_TOO_LARGE/s,
      ],
      ['GARBAGE\r\n\r\n', /^HTTP\/1\.1 400 .*RDMA_ERR_INVALID_ARGUMENT/s],
      ['GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', /^HTTP\/1\.1 400 /],
    ];
    for (const [text, wanted] of cases) {
      const { socket, answer } = await bare(url);
      socket.write(text);
      t.match(await answer, wanted);
    }
  });

  await t.test('clients that are slow lose their connection', async (t) => {
    const headers = await bare(url);
    headers.socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n');
    const dripping = setInterval(() => headers.socket.write('X: y\r\n'), 50);
    const body = await bare(url);
    body.socket.write(
      'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nx',
    );
    t.match(await headers.answer, /^HTTP\/1\.1 408 .*RDMA_ERR_TIMEOUT/s);
    clearInterval(dripping);
    t.match(await body.answer, /408/);
    t.ok(await still());
  });

  await t.test('bodies together have a limit, which is given back', async (t) => {
    const held = await bare(url);
    held.socket.write(
      'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 4000\r\n\r\nx',
    );
    const big = raw('application/octet-stream', Buffer.alloc(4000));
    const refused = await until('no room', async () => {
      const answer = await ask('/v1/jobs', big);
      return answer.status === 503 ? answer : undefined;
    });
    t.equal(refused.problem().code, 'RDMA_ERR_BUSY');
    t.equal(refused.headers.get('retry-after'), '1');
    held.socket.destroy();
    await until('room again', async () => (await ask('/v1/jobs', big)).status === 202);
  });

  await t.test('listeners and those who wait have limits', async (t) => {
    const { links } = (await ask('/v1/jobs', jsonRequest({ act: 'wait', ms: 600_000 }))).json();
    const controller = new AbortController();
    const stream = await fetch(`${url}${links.events}`, { signal: controller.signal });
    const second = await ask(links.events);
    t.match([second.status, second.problem().code], [503, 'RDMA_ERR_BUSY']);
    controller.abort();
    await stream.text().catch(() => {});
    const waiting = fetch(`${url}${links.result}?waitMs=60000`, { signal: AbortSignal.timeout(60_000) });
    const refused = await until('one waits', async () => {
      const answer = await ask(`${links.result}?waitMs=50`);
      return answer.status === 503 ? answer : undefined;
    });
    t.equal(refused.problem().code, 'RDMA_ERR_BUSY');
    await ask(links.self, { method: 'DELETE' });
    t.equal((await waiting).status, 409);
  });

  await t.test('a listener that is quiet hears comments', async (t) => {
    const { links } = (await ask('/v1/jobs', jsonRequest({ act: 'wait', ms: 600_000 }))).json();
    const stream = await until('the last listener is gone', async () => {
      const response = await fetch(`${url}${links.events}`, { signal: AbortSignal.timeout(60_000) });
      if (response.status === 200) return response;
      await response.text();
      return undefined;
    });
    let heard = '';
    for await (const chunk of stream.body as unknown as AsyncIterable<Uint8Array>) {
      heard += Buffer.from(chunk).toString();
      if (heard.includes('still there')) break;
    }
    t.match(heard, /^: still there$/m);
    await ask(links.self, { method: 'DELETE' });
  });

  await t.test('other names and other origins are turned away', async (t) => {
    const foreign = await bare(url);
    foreign.socket.end('GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
    t.match(await foreign.answer, /^HTTP\/1\.1 421 .*RDMA_ERR_REFUSED/s);
    const origin = await ask('/v1/jobs', jsonRequest({}, {}, { origin: 'http://evil.example' }));
    t.match([origin.status, origin.problem().code], [403, 'RDMA_ERR_REFUSED']);
    t.equal((await ask('/v1/jobs', jsonRequest({}, {}, { origin: 'null' }))).status, 403);
    t.equal((await ask('/v1/jobs', jsonRequest({}, {}, { origin: url }))).status, 202);
    t.notOk((await ask('/livez')).headers.has('access-control-allow-origin'));
  });

  await t.test('a number of a request is taken when it is one', async (t) => {
    t.equal((await ask('/livez', { headers: { 'x-request-id': 'abc-1' } })).headers.get('x-request-id'), 'abc-1');
    t.match(
      (await ask('/livez', { headers: { 'x-request-id': 'a b<' } })).headers.get('x-request-id'),
      /^[0-9a-f-]{36}$/,
    );
  });
  t.equal(server.readiness, 'ready');
});

void t.test('connections have a limit', async (t) => {
  const { url } = await serving(t, { maxConnections: 2 });
  const first = await bare(url);
  const second = await bare(url);
  const third = await bare(url);
  t.equal(await third.answer, '', 'it is closed');
  first.socket.destroy();
  second.socket.destroy();
  await Promise.all([first.answer, second.answer]);
  const ask = asker(url);
  await until('room again', async () => (await ask('/livez').catch(() => undefined))?.status === 200);
});
