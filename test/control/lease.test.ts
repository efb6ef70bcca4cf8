// Proves when a lease is held, and when no longer, over a store that has forgotten who held it.
import t, { type Test } from 'tap';
import { type Json, Lease } from '../../src/ts/control/index.js';
import { entryOf, ScriptedPort, ScriptedStore } from './scripted.js';

const LEASE_MS = 3000;
const synced = { type: 'synced' as const };
const restarted = { type: 'restarted' as const };
const put = (revision: number, value: Json) => ({ type: 'put' as const, entry: entryOf('k', revision, value) });
const foreign = { holder: 'other', term: 1, beat: 1, leaseMs: LEASE_MS, free: false, data: null };

function open(t: Test, storeForgets: boolean) {
  const [store, port] = [new ScriptedStore(), new ScriptedPort()];
  const lease = new Lease(store, 'k', { leaseMs: LEASE_MS, storeForgets, port });
  t.teardown(async () => {
    const closed = lease.close();
    for (const { answer } of store.puts) answer(99);
    await port.pass(LEASE_MS);
    await closed;
  });
  return { store, port, lease };
}

async function held(t: Test) {
  const opened = open(t, false);
  const { store, port, lease } = opened;
  await store.tell(synced);
  await port.pass(10);
  t.match(store.puts, [{ expected: 0 }]);
  store.puts[0]!.answer(10);
  await port.pass(10);
  t.ok(lease.holding, 'it is held');
  return opened;
}

void t.test('a holder that sees another holder after itself has lost, however low the revision', async (t) => {
  const { store, lease } = await held(t);
  const { holding } = lease;
  await store.tell(put(10, store.puts[0]!.value), put(4, foreign));
  t.notOk(holding!.isHeld());
  t.throws(() => holding!.check(), { code: 'RDMA_ERR_CONFLICT' });
});

void t.test('what the watch tells late of those before is no reason to stop', async (t) => {
  const { store, lease } = await held(t);
  await store.tell(put(4, foreign));
  t.ok(lease.holding);
  await store.tell(put(10, store.puts[0]!.value));
  t.ok(lease.holding);
});

// The one who wants the lease has seen it free for a whole lease, and asks for it.
async function asking(t: Test) {
  const opened = open(t, true);
  const { store, port } = opened;
  await store.tell(synced);
  await port.pass(LEASE_MS - 200);
  t.strictSame(store.puts, [], 'not before a lease has passed');
  for (let i = 0; i < 10 && store.puts.length === 0; i++) await port.pass(100);
  t.equal(store.puts.length, 1);
  return opened;
}

void t.test('a lease that was free is held once it is seen to be written', async (t) => {
  const { store, port, lease } = await asking(t);
  store.puts[0]!.answer(5);
  await port.pass(10);
  t.equal(lease.holding, undefined, 'not before');
  await store.tell(put(5, store.puts[0]!.value));
  await port.pass(10);
  t.ok(lease.holding);
});

void t.test('a store that was away since it was asked may have forgotten who took the lease meanwhile', async (t) => {
  const { store, port, lease } = await asking(t);
  store.puts[0]!.answer(5);
  // The watch gives its records again, and the end of them is late.
  await store.tell(restarted, put(5, store.puts[0]!.value));
  await port.pass(500);
  t.equal(lease.holding, undefined);
  await store.tell(synced);
  await port.pass(500);
  t.equal(lease.holding, undefined);
});
