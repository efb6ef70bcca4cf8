// Proves that a place is found where it was announced last, by term.
import t from 'tap';
import { Directory, memoryControlStore, MemoryRecords } from '../../src/ts/control/index.js';
import { codeOf } from '../pipeline/support.js';

void t.test('addresses are found by term, and old ones are refused', async (t) => {
  const records = new MemoryRecords();
  const seen: string[] = [];
  const store = memoryControlStore(records);
  const one = new Directory(store);
  const two = new Directory(memoryControlStore(records), {
    onChange: ({ place, term, address }) => seen.push(`${place} ${term} ${JSON.stringify(address)}`),
  });
  t.teardown(() => Promise.all([one.close(), two.close()]));
  const waiting = two.find('diffuse/0', 2);
  await one.announce('diffuse/0', { port: 1 }, 1);
  t.strictSame(await two.find('diffuse/0'), { place: 'diffuse/0', term: 1, address: { port: 1 } });
  await one.announce('diffuse/0', { port: 2 }, 2);
  t.match(await waiting, { term: 2, address: { port: 2 } });
  t.equal(await codeOf(one.announce('diffuse/0', { port: 0 }, 1)), 'RDMA_ERR_CONFLICT');
  t.equal(await codeOf(one.withdraw('diffuse/0', 1)), 'RDMA_ERR_CONFLICT', 'nor is a newer one withdrawn');
  await store.delete('places.diffuse/0');
  await one.announce('decode/0', 'x', 3);
  await two.find('decode/0');
  t.match(two.get('diffuse/0'), { term: 2 }, 'what a store has lost is still known');
  await one.announce('diffuse/0', { port: 2 }, 2);
  await one.withdraw('diffuse/0', 2);
  t.equal(await codeOf(two.find('diffuse/0', 3, { timeoutMs: 20 })), 'RDMA_ERR_TIMEOUT');
  t.equal(two.get('diffuse/0'), undefined);
  t.strictSame(
    two.list().map(({ place }) => place),
    ['decode/0'],
  );
  t.strictSame(seen.slice(0, 2), ['diffuse/0 1 {"port":1}', 'diffuse/0 2 {"port":2}']);
  t.equal(await codeOf(one.announce('a', null, 1)), 'RDMA_ERR_INVALID_ARGUMENT');
  t.equal(await codeOf(one.announce('a b', 1, 1)), 'RDMA_ERR_INVALID_ARGUMENT');
  t.equal(await codeOf(one.announce('a', 1, -1)), 'RDMA_ERR_INVALID_ARGUMENT');
  const late = codeOf(two.find('never'));
  await two.close();
  t.equal(await late, 'RDMA_ERR_CLOSED');
});
