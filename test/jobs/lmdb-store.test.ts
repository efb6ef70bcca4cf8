// Proves that the store on disk is a store of jobs.
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encodeRequest, type JobStore, lmdbStore } from '../../src/ts/jobs/index.js';
import { defaultStoreFolder } from '../../src/ts/jobs/lmdb-store.js';
import { codeOf } from '../pipeline/support.js';
import { conformance } from './conformance.js';
import { numbered } from './support.js';

const folders = new WeakMap<JobStore, string>();

function scratch(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-jobs-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

conformance(t, {
  open: async (t, options, port) => {
    const folder = scratch(t);
    const store = await lmdbStore(folder, options, port);
    folders.set(store, folder);
    t.teardown(() => store.close());
    return store;
  },
  again: async (t, store, options) => {
    const again = await lmdbStore(folders.get(store)!, options);
    t.teardown(() => again.close());
    return again;
  },
});

void t.test('files that crashes have left are swept when they are old, and no others', async (t) => {
  const folder = scratch(t);
  const store = await lmdbStore(folder);
  t.teardown(() => store.close());
  const owner = store.ownerName();
  await store.beat(owner, 0);
  const job = { id: 'a', tenant: 'default', priority: 0, submittedAtMs: 1, owner };
  await store.accept(job, encodeRequest(numbered(1, 100_000)));
  const values = join(folder, 'values');
  const [kept] = readdirSync(values);
  for (const name of ['old.part', 'old', 'young']) writeFileSync(join(values, name), 'x');
  for (const name of ['old.part', 'old', kept!]) utimesSync(join(values, name), 1, 1);
  await store.sweep();
  t.same(new Set(readdirSync(values)), new Set([kept, 'young']));
  t.ok(await store.settle('a', { state: 'done', bytes: new Uint8Array(100_000), tensorBytes: 1 }, 'x'));
  t.equal(readdirSync(values).length, 2, 'the request has gone, the result has come');
});

void t.test(
  'a store that is not there is made only where that is wanted, and the default is below XDG_STATE_HOME',
  async (t) => {
    const folder = scratch(t);
    t.equal(await codeOf(lmdbStore(join(folder, 'none'), { create: false })), 'RDMA_ERR_NOT_FOUND');
    t.equal(await codeOf(lmdbStore('')), 'RDMA_ERR_INVALID_ARGUMENT');
    writeFileSync(join(folder, 'file'), '');
    t.match(await codeOf(lmdbStore(join(folder, 'file'))), /EEXIST|ENOTDIR/);
    t.equal(defaultStoreFolder({ XDG_STATE_HOME: '/state' }), '/state/onepiece/jobs');
    t.match(defaultStoreFolder({}), /\.local\/state\/onepiece\/jobs$/);
  },
);
