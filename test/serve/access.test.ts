// Proves who gets in, what a tenant sees of others, and that a server which strangers could reach does not start
// without tokens; and that no token is in the log.
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { LocalPipeline } from '../../src/ts/cluster/index.js';
import { Observer, observePlugin } from '../../src/ts/observe/index.js';
import type { FastifyInstance } from '../../src/ts/serve/fastify.js';
import { openLog, Tokens } from '../../src/ts/serve/index.js';
import { checkServerOptions, isLoopback } from '../../src/ts/serve/options.js';
import { scratch } from '../cli/command.js';
import { jsonRequest, serving } from './support.js';

const ALICE = 'alice-0123456789abcdef';
const BOB = 'bob-0123456789abcdef';
const OPERATOR = 'operator-0123456789abcdef';
const tokens = Tokens.parse(`alice ${ALICE}\nbob ${BOB} 10\nops ${OPERATOR} operator`);
const by = (token: string) => ({ authorization: `Bearer ${token}` });

void t.test('a server that others reach needs tokens', async (t) => {
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org', '::ffff:10.0.0.1']) {
    t.throws(() => checkServerOptions({ host }), { code: 'RDMA_ERR_UNAUTHENTICATED', remedy: /--tokens-file/ }, host);
    t.equal(checkServerOptions({ host, tokens }).host, host);
  }
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '0:0:0:0:0:0:0:1']) t.ok(isLoopback(host), host);
  t.notOk(isLoopback('127.0.0.1.example.org'));
});

void t.test('every option has bounds', async (t) => {
  const cases: object[] = [
    { port: -1 },
    { port: 65536 },
    { maxBodyBytes: 0 },
    { maxBodyBytes: 1.5 },
    { drainMs: -1 },
    { headersTimeoutMs: '5' },
    { host: '' },
    { tokens: {} },
    { names: 'x' },
    { cancelOnDisconnect: 1 },
  ];
  for (const options of cases) {
    t.throws(() => checkServerOptions(options), { code: 'RDMA_ERR_INVALID_ARGUMENT' }, JSON.stringify(options));
  }
});

void t.test('tokens', async (t) => {
  const file = join(scratch(), 'log');
  const log = await openLog('trace', openSync(file, 'w'));
  const routes = async (app: FastifyInstance, pipeline: LocalPipeline) => {
    await app.register(observePlugin(Observer.attach(pipeline)));
  };
  const { ask } = await serving(t, { tokens, log, routes });

  await t.test('nothing but health without one', async (t) => {
    for (const path of ['/v1/jobs', '/v1/workflow', '/docs', '/openapi.json', '/v1/status', '/metrics', '/nowhere']) {
      const answer = await ask(path);
      t.equal(answer.status, 401, path);
      t.equal(answer.problem().code, 'RDMA_ERR_UNAUTHENTICATED');
      t.match(answer.headers.get('www-authenticate'), /Bearer.*Basic/);
    }
    t.equal((await ask('/v1/run', jsonRequest({}))).status, 401);
    t.equal((await ask('/v1/jobs', { headers: by(`${ALICE}x`) })).status, 401);
    t.equal((await ask('/livez')).status, 200);
    t.equal((await ask('/readyz')).status, 200);
    t.equal((await ask('/openapi.json', { headers: by(ALICE) })).status, 200);
  });

  await t.test('a tenant has its own jobs', async (t) => {
    const { id, links, tenant } = (await ask('/v1/jobs', jsonRequest({ secret: 'prompt' }, {}, by(ALICE)))).json();
    t.equal(tenant, 'alice');
    t.equal((await ask(`${links.result}?waitMs=30000`, { headers: by(ALICE) })).status, 200);
    for (const path of [links.self, links.result, links.events, `${links.result}/act/x`]) {
      const other = await ask(path, { headers: by(BOB) });
      t.equal(other.status, 404, path);
      const none = await ask(path.replace(id, 'none'), { headers: by(BOB) });
      t.equal(other.problem().detail.replace(id, 'none'), none.problem().detail, 'as if there were none');
    }
    t.equal((await ask(links.self, { method: 'DELETE', headers: by(BOB) })).status, 404);
    t.strictSame((await ask('/v1/jobs', { headers: by(BOB) })).json(), { jobs: [] });
    const taken = await ask('/v1/jobs', jsonRequest({}, {}, { ...by(BOB), 'idempotency-key': id }));
    t.match([taken.status, taken.problem().code], [409, 'RDMA_ERR_REFUSED']);
  });

  await t.test('what tells of all tenants is for operators, who have no more of their jobs', async (t) => {
    const { id } = (await ask('/v1/jobs', jsonRequest({}, {}, by(ALICE)))).json();
    await ask(`/v1/jobs/${id}/result?waitMs=30000`, { headers: by(ALICE) });
    for (const path of ['/v1/status', '/v1/status/events', '/metrics']) {
      const refused = await ask(path, { headers: by(ALICE) });
      t.equal(refused.status, 403, path);
      t.match(refused.problem(), { code: 'RDMA_ERR_REFUSED', remedy: /operator/ });
    }
    t.match((await ask('/metrics', { headers: by(OPERATOR) })).body.toString(), /tenant="alice"/);
    t.match((await ask('/v1/status', { headers: by(OPERATOR) })).body.toString(), /"alice"/);
    t.equal((await ask(`/v1/jobs/${id}`, { headers: by(OPERATOR) })).status, 404);
    t.strictSame((await ask('/v1/jobs', { headers: by(OPERATOR) })).json(), { jobs: [] });
    t.equal((await ask('/')).status, 200, 'the page has no data');
  });

  await t.test('a token has its tenant and its priority', async (t) => {
    t.equal((await ask('/v1/jobs?tenant=bob', jsonRequest({}, {}, by(ALICE)))).status, 403);
    t.equal((await ask('/v1/jobs?priority=1', jsonRequest({}, {}, by(ALICE)))).status, 403);
    t.equal((await ask('/v1/jobs?priority=10', jsonRequest({}, {}, by(BOB)))).status, 202);
    t.equal((await ask('/v1/jobs?priority=11', jsonRequest({}, {}, by(BOB)))).status, 403);
  });

  await t.test('the log has routes and numbers, and no token, query or body', async (t) => {
    await ask('/v1/jobs/abc?x=query-text', { headers: { ...by(ALICE), 'x-request-id': 'number-1' } });
    const lines = readFileSync(file, 'utf8').trim().split('\n');
    const parsed = lines.map((line) => JSON.parse(line));
    t.ok(parsed.some((line) => line.request === 'number-1' && line.route === '/v1/jobs/:id' && line.status === 400));
    t.notMatch(lines.join('\n'), /0123456789abcdef|query-text|prompt/);
  });
});
