// Proves that `onepiece jobs` lists, shows, cancels and removes, and ends with the right code.
import { join } from 'node:path';
import t from 'tap';
import { encodeRequest, encodeResult, lmdbStore } from '../../src/ts/jobs/index.js';
import { numbered, resultOf } from '../jobs/support.js';
import { onepiece, scratch } from './command.js';

void t.test('a store on disk, while a service has it open', async (t) => {
  const folder = scratch();
  const place = join(folder, 'store');
  const store = await lmdbStore(place);
  t.teardown(() => store.close());
  const owner = store.ownerName();
  await store.beat(owner, 0);
  for (const [i, id] of ['first', 'second', 'third'].entries()) {
    const job = { id, tenant: i === 0 ? 'one' : 'others', priority: i, submittedAtMs: 1_700_000_000_000 + i, owner };
    await store.accept(job, encodeRequest(numbered(i)));
  }
  await store.settle('first', { state: 'done', ...encodeResult(resultOf(numbered(1))) }, 'x');
  const jobs = (...args: string[]) => onepiece(['jobs', ...args, '--store', place], folder);

  const listed = await jobs('list', '--json');
  t.equal(listed.code, 0, listed.stderr);
  const document = JSON.parse(listed.stdout);
  t.match(document, { schemaVersion: 1, store: 'lmdb', usage: { jobs: 3 } });
  t.same(
    document.jobs.map(({ id }: { id: string }) => id),
    ['third', 'second', 'first'],
  );
  t.match(
    (await jobs('list', '--state', 'done,failed', '--tenant', 'one')).stdout,
    /^job .*\nfirst +done +one +0 +0 +2023-11-14T/,
  );
  t.match(JSON.parse((await jobs('show', 'first', '--json')).stdout), {
    schemaVersion: 1,
    job: { state: 'done', resultBytes: 16 },
  });

  const cancelled = await jobs('cancel', 'second', 'first', 'none');
  t.equal(cancelled.code, 1);
  t.equal(cancelled.stdout, 'second cancelled\n');
  t.match(cancelled.stderr, /first is done already[\s\S]*no job none/);
  t.match(await store.get('second'), { state: 'cancelled' });

  const removed = await jobs('rm', 'first', 'third', '--json');
  t.equal(removed.code, 1);
  t.match(JSON.parse(removed.stdout).jobs, [
    { id: 'first', ok: true },
    { id: 'third', ok: false, error: { code: 'RDMA_ERR_BUSY' } },
  ]);
  t.equal(await store.get('first'), undefined);
  t.equal((await jobs('show', 'first')).code, 1);
});

void t.test('a store that is not there, and what makes no sense', async (t) => {
  const folder = scratch();
  const missing = await onepiece(['jobs', 'list', '--store', join(folder, 'none')], folder);
  t.equal(missing.code, 1);
  t.match(missing.stderr, /RDMA_ERR_NOT_FOUND/);
  for (const args of [
    ['list', '--store', folder, '--redis', 'redis://127.0.0.1'],
    ['list', '--redis', 'http://127.0.0.1'],
    ['list', '--state', 'lost'],
    ['list', '--prefix', 'x'],
    ['show', 'a b'],
    ['show'],
  ]) {
    t.equal((await onepiece(['jobs', ...args], folder)).code, 2, args.join(' '));
  }
});
