// Proves that what soft0 has not got is answered with ENOTSUP and a word of advice, each time and at once, and leaves
// everything else as it was.
import t from 'tap';
import { pathTo, QpType } from '../../src/ts/verbs/index.js';
import { codeOf, openPair } from './support.js';

void t.test('what soft0 has not got is ENOTSUP, and the device goes on', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const lacking: Record<string, () => unknown> = {
    'shared receive queue': () => a.pd.createSharedReceiveQueue(),
    'memory window': () => a.pd.allocateMemoryWindow(),
    'address handle': () => a.pd.createAddressHandle(pathTo(a.address, b.qp.endpoint(b.address))),
    'unreliable connection': () => a.pd.createQueuePair({ sendCq: a.cq, type: QpType.UC }),
    datagrams: () => a.pd.createQueuePair({ sendCq: a.cq, type: QpType.UD }),
    'asynchronous events': () => a.device.onAsyncEvent(() => undefined),
    "a caller's memory": () => a.pd.registerMemory({ buffer: new Uint8Array(8) }),
    'huge pages': () => a.pd.registerMemory({ bytes: 8, hugePageBytes: 2 << 20 }),
    'C structs': () => a.qp.raw,
  };
  for (const [name, use] of Object.entries(lacking)) t.equal(codeOf(use), 'ENOTSUP', name);
  const remote = { address: b.mr.address, rkey: b.mr.rkey };
  await t.rejects(a.qp.operations.fetchAdd(remote, 1n), { code: 'ENOTSUP' });
  await a.qp.operations.write(a.mr.piece(0, 8), remote);
  t.equal(a.qp.counters.sendsCompleted, 1);
});
