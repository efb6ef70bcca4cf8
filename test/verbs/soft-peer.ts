// The other process of soft-faults.test.ts. Invariant: it carries out orders until its parent ends, and answers by
// messages alone, so that it can be stopped or killed at any moment.
import { type QueuePairEndpoint, pathTo, QpType, SendFlags } from '../../src/ts/verbs/index.js';
import { openSide, EVERY_ACCESS as access, takeOne } from './support.js';

/** An order: to connect to a queue pair, and then to do this without end. */
export interface Order {
  endpoint: QueuePairEndpoint;
  /** `wait` only connects; the others post without end. */
  work: 'wait' | 'write' | 'send' | 'datagrams';
  address: number;
  rkey: number;
  bytes: number;
}

async function obey(order: Order): Promise<void> {
  if (order.work === 'datagrams') {
    const side = openSide({ type: QpType.UD });
    side.qp.activate(side.address, 1);
    const to = side.pd.createAddressHandle(pathTo(side.address, order.endpoint));
    process.send?.('working');
    for (;;) {
      side.qp.sends.send(0, 0, SendFlags.SIGNALED, side.mr.address, order.bytes, side.mr.lkey);
      side.qp.sends.to(0, to.number, order.endpoint.qpNum, 1);
      side.qp.postSend(1);
      await takeOne(side.cq);
    }
  }
  side.qp.connect(side.address, order.endpoint, { access, rnrRetry: 7 });
  process.send?.('working');
  if (order.work === 'wait') return;
  for (let i = 0; ; i++) {
    // Every byte differs from the write before, so that a reader sees how far a write has come.
    side.bytes.fill(i + 1, 0, order.bytes);
    const { sends } = side.qp;
    if (order.work === 'write') {
      sends.write(0, i, SendFlags.SIGNALED, order.address, order.rkey, side.mr.address, order.bytes, side.mr.lkey);
    } else sends.send(0, i, SendFlags.SIGNALED, side.mr.address, order.bytes, side.mr.lkey);
    side.qp.postSend(1);
    if ((await takeOne(side.cq)).status !== 0) return;
  }
}

process.on('disconnect', () => process.exit(0));
process.on('message', (order: Order) => {
  void obey(order).catch((error) => {
    console.error(error);
    process.exit(1);
  });
});
const side = openSide({ bytes: 64 << 20, access });
process.send?.({ endpoint: side.qp.endpoint(side.address), address: side.mr.address, rkey: side.mr.rkey });
