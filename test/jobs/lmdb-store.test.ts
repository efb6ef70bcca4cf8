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

void t.test('what is under way when the store closes ends well, and what comes later is refused', async (t) => {
  const store = await lmdbStore(scratch(t));
  t.teardown(() => store.close());
  const owner = store.ownerName();
  await store.beat(owner, 0);
  const accept = (id: string) =>
    store.accept(
      { id, tenant: 'default', priority: 0, submittedAtMs: 1, owner },
      encodeRequest(numbered(1, id < 'b' ? 100_000 : 10)),
    );
  await accept('a0');
  // Reads in every turn of the loop, while the last writes are on their way to the disk.
  const look = async (): Promise<string> => {
    for (let i = 0; i < 1_000_000; i++) {
      const code = await codeOf(store.get('a0'));
      if (code !== 'ok') return code;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return 'never refused';
  };
  const ends = [
    ...Array.from({ length: 20 }, (_, i) => codeOf(accept(i % 2 === 0 ? `a${i + 1}` : `b${i}`))),
    codeOf(store.sweep()),
    codeOf(store.list()),
    codeOf(store.open()),
  ];
  const looked = look();
  await new Promise((resolve) => setImmediate(resolve));
  await store.close();
  t.equal(await looked, 'RDMA_ERR_CLOSED');
  for (const code of await Promise.all(ends)) t.ok(code === 'ok' || code === 'RDMA_ERR_CLOSED', code);
  for (const late of [store.list(), store.sweep(), store.usage(), store.get('a0'), store.beat(owner, 1)]) {
    t.equal(await codeOf(late), 'RDMA_ERR_CLOSED');
  }
  // lmdb throws out of a timer when it was read while it closed.
  await new Promise((resolve) => setTimeout(resolve, 20));
});

void t.test('a list of more jobs than are read at a time has each once, the newest first', async (t) => {
  const store = await lmdbStore(scratch(t));
  t.teardown(() => store.close());
  const owner = store.ownerName();
  await store.beat(owner, 0);
  // Two of each time: a batch may end between them.
  const ids = Array.from({ length: 600 }, (_, i) => `j${String(i).padStart(4, '0')}`);
  await Promise.all(
    ids.map((id, i) =>
      store.accept(
        { id, tenant: 'default', priority: 0, submittedAtMs: 1 + (i >> 1), owner },
        encodeRequest(numbered(1, 10)),
      ),
    ),
  );
  t.strictSame(
    (await store.list()).map(({ id }) => id),
    ids.reverse(),
  );
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
