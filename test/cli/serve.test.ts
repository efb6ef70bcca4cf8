// Proves the command as a stranger uses it: with curl, jobs are submitted, cancelled and refused; the first signal lets
// what runs finish and takes nothing new, the second ends at once; usage errors say what to do.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/ts/addon/native.js';
import { lacking } from '../peers/support.js';
import { jsonRequest, until } from '../serve/support.js';
import { groupOf, onepiece, scratch, start, until as soon } from './command.js';
import { served, SMALL } from './served.js';

const FOLDER = scratch();
const lack = lacking(() => {
  if (spawnSync('curl', ['--version']).error !== undefined) throw new Error('curl is missing: apt-get install curl');
});

const curl = (args: readonly string[]) => {
  const ended = spawnSync('curl', ['-sS', '--max-time', '60', ...args], { encoding: 'utf8' });
  return ended.stdout + ended.stderr;
};

void t.test('a stranger with curl', { skip: lack }, async (t) => {
  const { url, document, child, ended, pid } = await served(t);
  t.match(document, { schemaVersion: 1, workflow: 'small', pid });
  const folder = scratch();
  writeFileSync(join(folder, 'picture.png'), 'not looked at');
  const submitted = curl(['-i', '-F', `picture=@${folder}/picture.png`, '-F', 'meta={"a":1}', `${url}/v1/jobs`]);
  t.match(submitted, /^HTTP\/1\.1 202 Accepted\r\n/);
  const location = /^location: (\S+)/m.exec(submitted)![1]!;
  t.equal(curl([`${url}${location}/result/act/picture?waitMs=30000`]), 'not looked at');
  t.match(curl(['-N', `${url}${location}/events`]), /event: queued\ndata: .*event: done\n/s);
  const slow = JSON.parse(
    curl(['--json', '{"meta":{"act":"wait","ms":600000,"cost":10}}', `${url}/v1/jobs?costClass=minute&costUnits=10`]),
  );
  await until('it runs', async () => JSON.parse(curl([`${url}${slow.links.self}`])).state === 'running');
  const refused = curl(['-i', '--json', '{}', `${url}/v1/jobs?deadlineMs=5000&costClass=minute&costUnits=0.001`]);
  t.match(refused, /^HTTP\/1\.1 429 Too Many Requests\r\n/);
  t.match(refused, /^retry-after: [1-9]\d*\r$/m);
  t.match(refused, /"code":"RDMA_ERR_REJECTED".*"retryAfterMs":\d+/);
  t.match(JSON.parse(curl(['-X', 'DELETE', `${url}${slow.links.self}`])), {
    cancelled: true,
    job: { state: 'cancelled' },
  });
  child.kill('SIGTERM');
  const { code, stderr } = await ended;
  t.equal(code, 143, stderr);
  await soon('no process is left', () => groupOf(pid).length === 0, 10_000);
});

void t.test('the first signal lets what runs finish', async (t) => {
  const { ask, url, child, ended, pid } = await served(t, ['--drain-ms', '60000']);
  const waiting = fetch(`${url}/v1/run`, {
    ...jsonRequest({ act: 'wait', ms: 1500, n: 1 }),
    signal: AbortSignal.timeout(60_000),
  });
  await until('it runs', async () => (await ask('/v1/jobs?state=running')).json().jobs.length === 1);
  child.kill('SIGTERM');
  const refused = await until('it drains', async () => {
    const answer = await ask('/v1/jobs', jsonRequest({}));
    return answer.status === 503 ? answer : undefined;
  });
  t.equal(refused.problem().code, 'RDMA_ERR_CLOSED');
  t.ok(Number(refused.headers.get('retry-after')) > 1, 'it says for how long');
  const ready = await ask('/readyz');
  t.match([ready.status, ready.json()], [503, { status: 'draining' }]);
  t.equal((await ask('/livez')).status, 200);
  const result = await waiting;
  t.equal(result.status, 200);
  t.match(await result.json(), { outputs: [{ meta: { n: 1 } }] });
  t.equal((await ended).code, 143);
  await soon('no process is left', () => groupOf(pid).length === 0, 10_000);
});

void t.test('draining has an end, and the second signal ends at once', async (t) => {
  const short = await served(t, ['--drain-ms', '300']);
  const slow = jsonRequest({ act: 'wait', ms: 600_000 });
  const run = fetch(`${short.url}/v1/run`, { ...slow, signal: AbortSignal.timeout(60_000) });
  await until('it runs', async () => (await short.ask('/v1/jobs?state=running')).json().jobs.length === 1);
  short.child.kill('SIGINT');
  t.equal((await run).status, 503, 'a waiting client gets an answer');
  t.equal((await short.ended).code, 130);
  const long = await served(t, ['--drain-ms', '600000']);
  t.equal((await long.ask('/v1/jobs', slow)).status, 202);
  await until('it runs', async () => (await long.ask('/v1/jobs?state=running')).json().jobs.length === 1);
  long.child.kill('SIGTERM');
  await until('it drains', async () => (await long.ask('/readyz')).status === 503);
  long.child.kill('SIGTERM');
  t.equal((await long.ended).code, 143);
  await soon('no process is left', () => groupOf(long.pid).length === 0, 10_000);
});

void t.test('what was accepted outlives its server', async (t) => {
  const store = ['--store', join(scratch(), 'jobs')];
  const first = await served(t, ['--drain-ms', '0'], store);
  const submitted = await first.ask(
    '/v1/jobs',
    jsonRequest({ act: 'wait', ms: 3000, n: 7 }, {}, { 'idempotency-key': 'kept' }),
  );
  t.equal(submitted.status, 202);
  first.child.kill('SIGKILL');
  await first.ended;
  const second = await served(t, [], store);
  const result = await until('its result', async () => {
    const answer = await second.ask('/v1/jobs/kept/result?waitMs=30000');
    return answer.status === 200 ? answer : undefined;
  });
  t.strictSame(result.json().outputs[0].meta, { act: 'wait', ms: 3000, n: 7 });
  // A signal leaves in the store what has not finished in time.
  await second.ask('/v1/jobs', jsonRequest({ act: 'wait', ms: 600_000 }, {}, { 'idempotency-key': 'left' }));
  second.child.kill('SIGTERM');
  second.child.kill('SIGTERM');
  await second.ended;
  const third = await served(t, ['--drain-ms', '0'], store);
  t.match((await third.ask('/v1/jobs/left')).json(), { id: 'left', state: /queued|running/ });
  t.equal((await third.ask('/v1/jobs/kept/result')).status, 200, 'a result is still there');
  third.child.kill('SIGTERM');
  t.equal((await third.ended).code, 143);
});

void t.test('what is typed wrong is said in one line', async (t) => {
  const folder = scratch();
  writeFileSync(join(folder, 'tokens'), 'alice short\n');
  writeFileSync(join(folder, 'empty.mjs'), 'export const x = 1;\n');
  const cases: [string[], RegExp][] = [
    [[], /missing required argument 'workflow'/],
    [['nothing.mjs'], /nothing\.mjs cannot be loaded/],
    [['empty.mjs'], /exports no workflow/],
    [[SMALL, '--export', 'other'], /exports no workflow other.*it exports small/],
    [[SMALL, '--host', '0.0.0.0'], /others can reach 0\.0\.0\.0.*--tokens-file/],
    [[SMALL, '--tokens-file', 'tokens'], /line 1 of the tokens/],
    [[SMALL, '--port', '70000'], /whole number from 0 to 65535/],
    [[SMALL, '--max-body-bytes', '1'], /whole number from 1024/],
    [[SMALL, '--log-level', 'loud'], /Allowed choices/],
  ];
  for (const [args, words] of cases) {
    const { code, stderr, stdout } = await onepiece(['serve', ...args], folder);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, words);
    t.notMatch(stderr, /short|\n +at /);
    t.equal(stdout, '');
  }
});

void t.test('a port that is taken is said, and no process is left', async (t) => {
  const { url } = await served(t);
  const second = start(['serve', SMALL, '--memory', '--port', new URL(url).port], FOLDER);
  const { code, stderr } = await second.ended;
  t.equal(code, 1);
  t.match(stderr, /EADDRINUSE: cannot listen at 127\.0\.0\.1, port \d+.*--port/);
  t.equal(groupOf(second.child.pid!).length, 0);
});

void t.test('the library alone loads nothing of the server', async (t) => {
  const code = `require('./lib/index.js');
    const files = Object.keys(require.cache);
    console.log(JSON.stringify(files.filter((f) => /node_modules\\/(fastify|@fastify|pino|lmdb|redis|prom-client)|lib\\/serve\\//.test(f))));
    process.exit(0);`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', code], { cwd: packageRoot(), encoding: 'utf8' });
  t.equal(stdout.trim(), '[]', stderr);
});
