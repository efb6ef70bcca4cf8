// Proves that asynchronous events come to every listener, with the object that they are about, and that closing the
// object, the device or the process while they wait harms nothing.
import t from 'tap';
import { type AsyncEvent, AsyncEventType, Device, QpState } from '../../src/ts/verbs/index.js';
import { describeEvent } from '../../src/ts/verbs/async-event.js';
import { connectSides, deviceName, isSoft, openPair, openSide, takeOne, until } from './support.js';

const onSoft = { skip: isSoft ? false : 'rxe of kernel 6.1 does not raise it' };
const onVerbs = { skip: isSoft ? 'a completion queue of soft0 cannot overflow' : false };
const none = { queuePairs: new Map(), completionQueues: new Map(), sharedReceiveQueues: new Map() };

void t.test('every type of event has a name and a text; a newer one is named by its number', async (t) => {
  for (const [name, type] of Object.entries(AsyncEventType)) {
    const event = describeEvent(type, 3, none);
    t.equal(event.name, name);
    t.ok(event.words.length > 10);
    t.equal(event.port, /^(PORT|LID|PKEY|SM_|CLIENT|GID)/.test(name) ? 3 : undefined);
  }
  t.match(describeEvent(99, 0, none), { name: 'UNKNOWN', type: 99 });
});

void t.test('a shared receive queue that runs low says so, once for each arming', async (t) => {
  const a = openSide();
  const b = openSide();
  const events: AsyncEvent[] = [];
  const second: AsyncEvent[] = [];
  const stop = b.device.onAsyncEvent((event) => events.push(event));
  b.device.onAsyncEvent((event) => second.push(event));
  const srq = b.pd.createSharedReceiveQueue({ maxWr: 8 });
  const qp = b.pd.createQueuePair({ sendCq: b.cq, sharedReceiveQueue: srq });
  connectSides(a, { ...b, qp });
  for (let i = 0; i < 4; i++) srq.receives.into(i, i, b.mr.address + i * 64, 64, b.mr.lkey);
  srq.postReceive(4);
  srq.modify({ limit: 3 });
  t.equal(srq.query().limit, 3);
  await a.qp.operations.send(a.mr.piece(0, 8));
  await a.qp.operations.send(a.mr.piece(0, 8));
  await until('the limit event comes', () => events.length > 0);
  t.match(events, [{ type: AsyncEventType.SRQ_LIMIT_REACHED, name: 'SRQ_LIMIT_REACHED', element: srq.number }]);
  t.equal(events[0]!.sharedReceiveQueue, srq);
  t.equal(events[0]!.queuePair, undefined);
  t.same(second, events);
  stop();
  srq.modify({ limit: 2 });
  await a.qp.operations.send(a.mr.piece(0, 8));
  await until('the other listener hears the second one', () => second.length > 1);
  t.equal(events.length, 1);
  a.device.close();
  b.device.close();
});

// rxe of kernel 6.1 raises neither this event nor the next.
void t.test('a queue pair with a shared queue says when it has taken its last receive', onSoft, async (t) => {
  const a = openSide();
  const b = openSide();
  const events: AsyncEvent[] = [];
  b.device.onAsyncEvent((event) => events.push(event));
  const srq = b.pd.createSharedReceiveQueue({ maxWr: 8 });
  const qp = b.pd.createQueuePair({ sendCq: b.cq, sharedReceiveQueue: srq });
  connectSides(a, { ...b, qp });
  qp.toError();
  await until('the event comes', () => events.some((event) => event.type === AsyncEventType.QP_LAST_WQE_REACHED));
  t.equal(events.find((event) => event.type === AsyncEventType.QP_LAST_WQE_REACHED)!.queuePair, qp);
  a.device.close();
  b.device.close();
});

void t.test(
  'a peer that asks for what it may not have is heard of as an access error of the queue pair',
  onSoft,
  async (t) => {
    using pair = openPair();
    const { a, b } = pair;
    const events: AsyncEvent[] = [];
    b.device.onAsyncEvent((event) => events.push(event));
    a.qp.sends.write(0, 1, 2, b.mr.address, (b.mr.rkey ^ 0x100) >>> 0, a.mr.address, 8, a.mr.lkey);
    a.qp.postSend(1);
    t.equal((await takeOne(a.cq)).status, 10);
    await until('the event comes', () => events.length > 0);
    t.match(events[0]!.name, /^QP_(ACCESS_ERR|FATAL|REQ_ERR)$/);
    t.equal(events[0]!.queuePair, b.qp);
    t.equal(b.qp.query().state, QpState.ERROR);
  },
);

void t.test('listening twice, stopping twice and closing while listening are all right', async (t) => {
  const device = Device.open(deviceName);
  const stop = device.onAsyncEvent(() => {});
  stop();
  stop();
  device.onAsyncEvent(() => {});
  device.close();
  t.throws(() => device.onAsyncEvent(() => {}), { code: 'RDMA_ERR_CLOSED' });
  const other = Device.open(deviceName);
  t.throws(() => other.onAsyncEvent(1 as unknown as () => void), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  other.close();
});

void t.test('a completion queue that overflows says so; the device and other queues live on', onVerbs, async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const events: AsyncEvent[] = [];
  a.device.onAsyncEvent((event) => events.push(event));
  const small = a.device.createCompletionQueue(1);
  const room = small.capacity;
  const qp = a.pd.createQueuePair({ sendCq: small, maxSendWr: 2 * room + 2 });
  const peer = b.pd.createQueuePair({ sendCq: b.cq });
  qp.connect(a.address, peer.endpoint(b.address));
  peer.connect(b.address, qp.endpoint(a.address), { access: 2 });
  for (let i = 0; i < room + 2; i++) {
    qp.sends.write(0, i, 2, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
    qp.postSend(1);
  }
  await until('the event of the overflow', () => events.some((event) => event.name === 'CQ_ERR'));
  t.equal(events.find((event) => event.name === 'CQ_ERR')!.completionQueue, small);
  await a.qp.operations.write(a.mr.piece(0, 8), { address: b.mr.address, rkey: b.mr.rkey });
});
