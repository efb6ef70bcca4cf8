// Proves that events are kept in order and within their bound by whoever leads, and that a store that is away stops
// nobody.
import t from 'tap';
import {
  ClusterEvents,
  EVENTS,
  followClusterEvents,
  listClusterEvents,
  MAX_EVENTS,
} from '../../src/ts/cluster/cluster-events.js';
import { Election, memoryControlStore, MemoryRecords, type RdmaError } from '../../src/ts/control/index.js';
import { CutStore } from '../control/support.js';

const scaleOf = (words: string) => ({ app: 'clip', type: 'scale', words, inputs: { from: 1, to: 2 } });

void t.test('the newest events are kept in order, also across authors', async (t) => {
  const records = new MemoryRecords();
  const one = new ClusterEvents(memoryControlStore(records), { wallMs: () => 77 });
  const two = new ClusterEvents(memoryControlStore(records));
  t.strictSame(await listClusterEvents(memoryControlStore(records)), []);
  t.ok(await one.append(scaleOf('first')));
  const [first] = await listClusterEvents(memoryControlStore(records));
  t.strictSame(first, { sequence: 1, atMs: 77, term: 0, ...scaleOf('first') });
  // At once: neither knows of the other.
  const both = Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? one : two).append(scaleOf(`${i}`)));
  t.strictSame(new Set(await Promise.all(both)), new Set([true]));
  for (let i = 0; i < MAX_EVENTS; i++) await two.append(scaleOf(`later ${i}`));
  const kept = await listClusterEvents(memoryControlStore(records));
  t.equal(kept.length, MAX_EVENTS);
  t.strictSame(
    kept.map(({ words }) => words),
    Array.from({ length: MAX_EVENTS }, (_, i) => `later ${i}`),
  );
  t.equal(kept.at(-1)!.sequence, 21 + MAX_EVENTS);
});

void t.test('a new leader goes on after the last event, and an old one writes none', async (t) => {
  const records = new MemoryRecords();
  const fast = { leaseMs: 300, storeForgets: false };
  const store = new CutStore(records);
  const one = new Election(store, { name: 'one', ...fast });
  const two = new Election(memoryControlStore(records), { name: 'two', ...fast });
  t.teardown(() => Promise.all([one.close(), two.close()]));
  const leader = await Promise.race([one.whenLeading(), two.whenLeading()]);
  const [old, next] = one.leadership === leader ? [one, two] : [two, one];
  const troubles: RdmaError[] = [];
  const options = (election: Election) => ({
    leadership: () => election.leadership,
    onTrouble: (error: RdmaError) => troubles.push(error),
  });
  const before = new ClusterEvents(store, options(old));
  t.ok(await before.append(scaleOf('by the first')));
  await old.resign();
  await next.whenLeading();
  const after = new ClusterEvents(memoryControlStore(records), options(next));
  t.notOk(await before.append(scaleOf('too late')));
  t.match(troubles, [{ code: 'RDMA_ERR_CONFLICT', message: /scale of clip was not kept/ }]);
  t.ok(await after.append(scaleOf('by the second')));
  const found = await listClusterEvents(memoryControlStore(records));
  t.match(found, [
    { sequence: 1, words: 'by the first' },
    { sequence: 2, words: 'by the second' },
  ]);
  t.ok(found[1]!.term > found[0]!.term);
  const operator = new ClusterEvents(memoryControlStore(records));
  t.ok(await operator.append({ app: 'clip', type: 'deployed', words: 'clip is deployed' }));
  t.match((await listClusterEvents(memoryControlStore(records))).at(-1), { sequence: 3, term: found[1]!.term });
});

void t.test('a store that is away is a trouble and no failure; what is no event is overwritten', async (t) => {
  const records = new MemoryRecords();
  const store = new CutStore(records);
  const troubles: RdmaError[] = [];
  const events = new ClusterEvents(store, { onTrouble: (error) => troubles.push(error) });
  store.state = 'away';
  t.notOk(await events.append(scaleOf('lost')));
  t.match(troubles, [{ code: 'RDMA_ERR_PEER_GONE' }]);
  store.state = 'hangs';
  for (let i = 0; i < 200; i++) void events.append(scaleOf(`${i}`));
  t.ok(troubles.length > 100, 'what waits is bounded');
  const inner = memoryControlStore(records);
  await inner.put(`${EVENTS}001`, 'nonsense');
  const other = new ClusterEvents(inner);
  t.ok(await other.append(scaleOf('kept')));
  t.match(await listClusterEvents(inner), [{ sequence: 1, words: 'kept' }]);
});

void t.test('a follower gets the events that exist, in order, then each new one, until the signal', async (t) => {
  const store = memoryControlStore();
  const events = new ClusterEvents(store);
  const append = (words: string) => events.append({ app: 'clip', type: 'plan', words });
  // The ring has gone round: its first slots hold the newest events.
  for (let i = 1; i <= MAX_EVENTS + 2; i++) await append(`event ${i}`);
  const end = new AbortController();
  const told: number[] = [];
  const following = (async () => {
    for await (const { sequence } of followClusterEvents(store, end.signal)) {
      told.push(sequence);
      if (sequence === MAX_EVENTS + 2) void append('one more');
      if (sequence === MAX_EVENTS + 3) end.abort();
    }
  })();
  await following;
  t.strictSame(
    told,
    Array.from({ length: MAX_EVENTS + 1 }, (_, i) => i + 3),
  );
});
