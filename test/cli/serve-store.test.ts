// Proves what a server and its store on disk are to each other: draining leaves there what no stage has begun, and
// `onepiece jobs` works on it while the server runs.
import { join } from 'node:path';
import t from 'tap';
import { eventsOf, jsonRequest, until } from '../serve/support.js';
import { onepiece, scratch } from './command.js';
import { served } from './served.js';

const FOLDER = scratch();

void t.test('draining begins no stored job: it stays for the next server', async (t) => {
  const store = ['--store', join(scratch(), 'jobs')];
  const first = await served(t, ['--drain-ms', '60000'], store);
  const submit = (id: string, ms: number) =>
    first.ask('/v1/jobs', jsonRequest({ act: 'wait', ms }, {}, { 'idempotency-key': id }));
  await submit('first', 1500);
  for await (const { data } of eventsOf(await fetch(`${first.url}/v1/jobs/first/events`))) {
    if (data.type === 'task' && data.stage === 'act') break;
  }
  const waiting = first.ask('/v1/jobs/first/result?waitMs=60000');
  for (let i = 0; i < 30; i++) await submit(`other-${i}`, 400);
  first.child.kill('SIGTERM');
  t.equal((await waiting).status, 200, 'what ran has finished');
  t.equal((await first.ended).code, 143);
  const listed = await onepiece(['jobs', 'list', '--json', ...store], FOLDER);
  const { jobs } = JSON.parse(listed.stdout) as { jobs: { state: string; attempts: number }[] };
  const left = jobs.filter(({ state }) => state === 'queued');
  t.ok(left.length >= 15, `${left.length} are left for the next one`);
  t.ok(left.every(({ attempts }) => attempts === 0));
  t.equal(left.length + jobs.filter(({ state }) => state === 'done').length, 31, 'each is in the store');
});

void t.test('`onepiece jobs` looks at the store of a server that runs, and cancels there', async (t) => {
  const store = ['--store', join(scratch(), 'jobs')];
  const { ask } = await served(t, [], store);
  const key = { 'idempotency-key': 'slow' };
  await ask('/v1/jobs', jsonRequest({ act: 'wait', ms: 600_000 }, {}, key));
  await until('it runs', async () => (await ask('/v1/jobs/slow')).json().state === 'running');
  const jobs = (...args: string[]) => onepiece(['jobs', ...args, ...store], FOLDER);
  const listed = await jobs('list', '--json');
  t.match(JSON.parse(listed.stdout), { store: 'lmdb', jobs: [{ id: 'slow', state: 'running' }] }, listed.stderr);
  t.equal((await jobs('rm', 'slow')).code, 1, 'it runs');
  const waiting = ask('/v1/jobs/slow/result?waitMs=60000');
  t.match(await jobs('cancel', 'slow'), { code: 0, stdout: 'slow cancelled\n' });
  t.match((await waiting).problem(), { status: 409, code: 'RDMA_ERR_CANCELLED' });
  t.match(await jobs('rm', 'slow'), { code: 0, stdout: 'slow removed\n' });
  t.equal((await ask('/v1/jobs/slow')).status, 404);
});
