// Proves that the store in memory is a control store.
import t from 'tap';
import { memoryControlStore, MemoryRecords } from '../../src/ts/control/index.js';
import { conformance } from './conformance.js';

conformance(t, async (t) => {
  const records = new MemoryRecords();
  const stores = [memoryControlStore(records), memoryControlStore(records)] as const;
  t.teardown(() => Promise.all(stores.map((store) => store.close())));
  return [...stores];
});

void t.test('stores share records only where their options say so', async (t) => {
  await memoryControlStore().put('a', 1);
  t.equal(await memoryControlStore().get('a'), undefined);
  t.throws(() => memoryControlStore({} as never), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});
