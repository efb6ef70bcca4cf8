// Proves that members see each other come, change, leave and die, that a name is one node's, and that a store that is
// away loses nobody.
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { memoryControlStore, type MemberEvent, MemoryRecords, Members } from '../../src/ts/control/index.js';
import { codeOf } from '../pipeline/support.js';
import { becomes, CutStore } from './support.js';

const LEASE_MS = 400;

function open(t: Test, store = memoryControlStore()) {
  const events: string[] = [];
  const onEvent = ({ type, member }: MemberEvent) => events.push(`${type} ${member.name} ${member.incarnation}`);
  const members = new Members(store, { leaseMs: LEASE_MS, onEvent });
  t.teardown(() => members.close());
  return { members, events };
}

void t.test('members are seen to come, to change and to leave', async (t) => {
  const records = new MemoryRecords();
  const one = open(t, memoryControlStore(records));
  const two = open(t, memoryControlStore(records));
  const a = await one.members.join('node.a', { gpus: 1 });
  const b = await two.members.join('b/1', { gpus: 2 });
  t.strictSame([a.incarnation, b.incarnation], [1, 1]);
  for (const { members } of [one, two]) await becomes('both are there', () => members.list().length === 2);
  t.strictSame(
    two.members.list().map(({ name, data }) => [name, data]),
    [
      ['b/1', { gpus: 2 }],
      ['node.a', { gpus: 1 }],
    ],
  );
  a.update({ gpus: 0 });
  await becomes('it is known', () => JSON.stringify(two.members.get('node.a')?.data) === '{"gpus":0}');
  await sleep(2 * LEASE_MS);
  await a.leave();
  await becomes('it has left', () => two.members.get('node.a') === undefined);
  const again = await one.members.join('node.a', {});
  t.equal(again.incarnation, 2);
  await becomes('it is back', () => two.members.get('node.a')?.incarnation === 2);
  t.strictSame(
    two.events.filter((event) => event.includes('node.a')),
    ['joined node.a 1', 'changed node.a 1', 'left node.a 1', 'joined node.a 2'],
  );
});

void t.test('one that dies is lost after its lease, and comes back in a new incarnation', async (t) => {
  const records = new MemoryRecords();
  const store = new CutStore(records);
  const one = open(t, store);
  const two = open(t, memoryControlStore(records));
  const a = await one.members.join('a', {});
  await two.members.join('b', {});
  await becomes('both are there', () => two.members.list().length === 2);
  store.state = 'away';
  await becomes('it is lost', () => two.members.get('a') === undefined);
  t.equal(a.incarnation, undefined, 'and knows it, before');
  store.state = 'well';
  await becomes('it is back', () => two.members.get('a') !== undefined);
  t.ok(two.members.get('a')!.incarnation > 1);
  t.strictSame(
    two.events.filter((event) => event.endsWith(' a 1')),
    ['joined a 1', 'lost a 1'],
  );
});

void t.test('a store that is away loses nobody', async (t) => {
  const records = new MemoryRecords();
  const stores = [new CutStore(records), new CutStore(records)];
  const [one, two] = stores.map((store) => open(t, store)) as [ReturnType<typeof open>, ReturnType<typeof open>];
  await one.members.join('a', {});
  await two.members.join('b', {});
  for (const { members } of [one, two]) await becomes('both are there', () => members.list().length === 2);
  for (const store of stores) store.state = 'away';
  await sleep(5 * LEASE_MS);
  t.equal(one.members.list().length, 2);
  t.equal(two.members.list().length, 2);
  t.equal(one.members.lastError?.code, 'RDMA_ERR_PEER_GONE');
  for (const store of stores) store.state = 'well';
  await sleep(3 * LEASE_MS);
  for (const { members, events } of [one, two]) {
    await becomes('both are there', () => members.list().length === 2);
    t.strictSame(
      events.filter((event) => event.startsWith('left')),
      [],
    );
  }
});

void t.test('a name is one node’s at a time', async (t) => {
  const records = new MemoryRecords();
  const one = open(t, memoryControlStore(records));
  const two = open(t, memoryControlStore(records));
  await one.members.join('a', {});
  t.equal(await codeOf(one.members.join('a', {})), 'RDMA_ERR_CONFLICT');
  t.equal(await codeOf(two.members.join('a', {})), 'RDMA_ERR_CONFLICT', 'while it renews');
  await one.members.close();
  t.equal((await two.members.join('a', {})).incarnation, 2);
  for (const name of ['', 'a b', '.a', 3] as string[])
    t.equal(await codeOf(two.members.join(name, {})), 'RDMA_ERR_INVALID_ARGUMENT');
  t.throws(() => new Members(memoryControlStore(), { prefix: 'x' }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});

void t.test('one that cannot join says why', async (t) => {
  const store = new CutStore(new MemoryRecords());
  store.state = 'hangs';
  const { members } = open(t, store);
  await members.whenSynced();
  t.equal(await codeOf(members.join('a', {}, 100)), 'RDMA_ERR_TIMEOUT');
});
