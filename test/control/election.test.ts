// Proves that one leads at a time, that another follows when it dies, and that what an old leader writes is refused.
import t from 'tap';
import {
  Election,
  Lease,
  type Leadership,
  memoryControlStore,
  MemoryRecords,
  readFenced,
  type RdmaError,
} from '../../src/ts/control/index.js';
import { codeOf } from '../pipeline/support.js';
import { becomes, CutStore } from './support.js';

const LEASE_MS = 300;
const fast = { leaseMs: LEASE_MS, storeForgets: false };

void t.test('one of several leads; when it resigns another does, in a higher term', async (t) => {
  const records = new MemoryRecords();
  const elections = ['a', 'b', 'c'].map((name) => {
    const election = new Election(memoryControlStore(records), { name, ...fast, data: { at: name } });
    t.teardown(() => election.close());
    return election;
  });
  const leading = () => elections.filter(({ leadership }) => leadership !== undefined);
  await becomes('somebody leads', () => leading().length > 0);
  t.equal(leading().length, 1);
  const first = leading()[0]!;
  const { term, signal } = first.leadership!;
  await becomes('all know', () => elections.every(({ leader }) => leader?.term === term));
  t.strictSame(elections[0]!.leader, { ...elections[1]!.leader });
  t.strictSame((elections[0]!.leader!.data as { at: string }).at, elections[0]!.leader!.name);
  await first.resign();
  t.ok(signal.aborted);
  t.equal(first.leadership, undefined);
  await becomes('another leads', () => leading().length > 0 && leading()[0] !== first);
  t.ok(leading()[0]!.leadership!.term > term);
});

void t.test('a leader that cannot renew stops by itself, before another begins', async (t) => {
  const records = new MemoryRecords();
  const store = new CutStore(records);
  const lost: RdmaError[] = [];
  const one = new Election(store, { name: 'one', ...fast, onLost: (reason) => lost.push(reason) });
  t.teardown(() => one.close());
  const old = await one.whenLeading();
  const two = new Election(memoryControlStore(records), { name: 'two', ...fast });
  t.teardown(() => two.close());
  for (const state of ['away', 'hangs'] as const) {
    const leader = await one.whenLeading();
    store.state = state;
    let both = false;
    const look = setInterval(() => {
      both ||= one.leadership !== undefined && two.leadership !== undefined;
    }, 1);
    const next = await two.whenLeading();
    clearInterval(look);
    t.notOk(both);
    t.notOk(leader.isLeading());
    t.ok(next.term > leader.term);
    t.throws(() => leader.check(), { code: 'RDMA_ERR_CONFLICT' });
    t.match(one.lastError?.code, /^RDMA_ERR_(PEER_GONE|TIMEOUT)$/, 'and says why');
    store.state = 'well';
    await two.resign();
  }
  t.match(lost[0]?.code, 'RDMA_ERR_TIMEOUT');
  t.ok(old.signal.aborted);
});

void t.test('what a leader writes is refused once a newer term has written', async (t) => {
  const records = new MemoryRecords();
  const store = memoryControlStore(records);
  const one = new Election(store, { name: 'one', ...fast });
  t.teardown(() => one.close());
  const first = await one.whenLeading();
  const revision = await first.put('plan', { number: 1 });
  t.equal(await codeOf(first.put('plan', { number: 2 }, { expected: 0 })), 'RDMA_ERR_CONFLICT');
  await first.put('plan', { number: 2 }, { expected: revision });
  t.strictSame(readFenced((await store.get('plan'))!).value, { number: 2 });
  await one.resign();
  t.equal(await codeOf(first.put('plan', { number: 3 })), 'RDMA_ERR_CONFLICT', 'its term is over');
  // One that does not know yet that its term is over.
  const sleeper = Object.create(first) as Leadership;
  const two = new Election(store, { name: 'two', ...fast });
  t.teardown(() => two.close());
  const second = await two.whenLeading();
  await second.put('plan', { number: 10 });
  const stale = { term: first.term, isHeld: () => true, check: () => {}, raise: () => first.raise(second.term) };
  Object.assign(sleeper, { holding: stale });
  t.equal(await codeOf(sleeper.put('plan', { number: 4 })), 'RDMA_ERR_CONFLICT');
  const entry = (await store.get('plan'))!;
  t.match(readFenced(entry), { term: second.term, value: { number: 10 } });
  await store.put('plan', 'something else');
  t.equal(await codeOf(second.put('plan', 1)), 'RDMA_ERR_PROTOCOL');
});

void t.test('a leader raises its term above one that somebody has seen', async (t) => {
  const store = memoryControlStore();
  const election = new Election(store, { name: 'one', ...fast });
  t.teardown(() => election.close());
  const leadership = await election.whenLeading();
  await store.put('plan', { term: 41, holder: 'forgotten', value: 0 });
  await leadership.put('plan', 1);
  t.equal(leadership.term, 42);
  await becomes('all know', () => election.leader?.term === 42);
});

void t.test('a record that was deleted, or overwritten, while it is held', async (t) => {
  const store = memoryControlStore();
  const lost: RdmaError[] = [];
  const lease = new Lease(store, 'l', { ...fast, onLost: (reason) => lost.push(reason) });
  t.teardown(() => lease.close());
  await becomes('it is held', () => lease.holding !== undefined);
  const { holding } = lease;
  await store.delete('l');
  const isWritten = async () => (await store.get('l')) !== undefined;
  while (!(await isWritten())) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(lease.holding, holding, 'it writes it again');
  t.strictSame(lost, []);
  await store.put('l', 'no lease at all');
  await becomes('it is lost', () => lost.length > 0);
  await becomes('it is held again', () => lease.holding !== undefined);
});

void t.test('a free lease of a store that may forget is not taken at once', async (t) => {
  const records = new MemoryRecords();
  const beganMs = performance.now();
  const lease = new Lease(memoryControlStore(records), 'l', { leaseMs: LEASE_MS });
  t.teardown(() => lease.close());
  await becomes('it is held', () => lease.holding !== undefined);
  t.ok(performance.now() - beganMs >= LEASE_MS);
});

void t.test('arguments are checked, and closing ends who waits', async (t) => {
  const store = memoryControlStore();
  const wrong = [
    { name: '' },
    { name: 3 },
    { key: 'a b' },
    { leaseMs: 49 },
    { leaseMs: 1e9 },
    { onLead: 3 },
    { port: 3 },
  ];
  for (const options of wrong as never[]) {
    const made = () => new Election(store, { name: 'a', ...(options as object) });
    t.throws(made, { code: 'RDMA_ERR_INVALID_ARGUMENT' }, JSON.stringify(options));
  }
  const election = new Election(store, { name: 'a' });
  const waiting = codeOf(election.whenLeading());
  t.equal(await codeOf(election.whenLeading({ timeoutMs: 1 })), 'RDMA_ERR_TIMEOUT');
  await election.close();
  t.equal(await waiting, 'RDMA_ERR_CLOSED');
  t.equal(await codeOf(election.whenLeading()), 'RDMA_ERR_CLOSED');
});
