// Proves what soft0 promises when its peer stops or dies: an event names the death within a second, with nothing
// posted; a peer that is stopped in the middle of a copy holds up its own region and no other; and a sender that dies,
// of shared receives or of datagrams, takes only what it held with it.
import t from 'tap';
import {
  type AsyncEvent,
  CompletionStatus as Status,
  pathTo,
  QpState,
  QpType,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import type { Hello } from './peer.js';
import { haveThreadsStopped } from '../stopped.js';
import type { Order } from './soft-peer.js';
import {
  codeOf,
  connectSides,
  ended,
  EVERY_ACCESS as access,
  FULL_ACCESS,
  message,
  openPair,
  openSide,
  type Side,
  startHelper,
  take,
  takeOne,
  until,
} from './support.js';

const { SIGNALED } = SendFlags;

async function startPeer(side: Side, qp = side.qp) {
  const child = startHelper('soft-peer');
  child.stderr?.pipe(process.stderr);
  const hello = await message<Hello>(child);
  if (qp.type !== QpType.UD) qp.connect(side.address, hello.endpoint, { access, timeout: 8, retryCount: 1 });
  const order = async (work: Order['work'], bytes = 64, mr = side.mr) => {
    const working = message(child);
    child.send({
      endpoint: qp.endpoint(side.address),
      work,
      bytes,
      address: mr.address,
      rkey: mr.rkey,
    } satisfies Order);
    await working;
  };
  const stop = async () => {
    child.kill('SIGSTOP');
    await until('the peer is stopped', () => haveThreadsStopped(child.pid!));
  };
  const kill = async () => {
    const end = ended(child);
    child.kill('SIGKILL');
    await end;
  };
  return { child, hello, order, stop, kill };
}

void t.test('the death of a peer is an event within a second, with nothing posted', async (t) => {
  const side = openSide();
  const events: AsyncEvent[] = [];
  side.device.onAsyncEvent((event) => events.push(event));
  const { order, kill } = await startPeer(side);
  await order('wait');
  side.qp.receives.empty(0, 7);
  side.qp.postReceive(1);
  const started = performance.now();
  await kill();
  await until('the event comes', () => events.length > 0);
  const tookMs = performance.now() - started;
  t.ok(tookMs < 1000, `it took ${tookMs.toFixed(0)} ms`);
  t.match(events, [{ name: 'QP_FATAL', queuePair: side.qp }]);
  t.match(await takeOne(side.cq), { wrId: 7, status: Status.FLUSHED }, 'what waits to be received is flushed');
  for (const [wrId, status] of [
    [1, Status.RETRY_EXCEEDED],
    [2, Status.FLUSHED],
  ] as const) {
    side.qp.sends.send(0, wrId, 0, side.mr.address, 8, side.mr.lkey);
    side.qp.postSend(1);
    t.match(await takeOne(side.cq), { wrId, status }, 'the first request that is posted later says why');
  }
  side.device.close();
});

/** Whether a writer of whole pages is in the middle of one: its first byte is new, its last one is not. */
function isCutPage(bytes: Uint8Array): boolean {
  for (let page = 0; page < bytes.length; page += 4096) {
    if (bytes[page] !== bytes[page + 4095]) return true;
  }
  return false;
}

void t.test('a peer stopped in a large copy holds up that region alone, and no byte changes after', async (t) => {
  const bytes = 64 << 20;
  const side = openSide({ access });
  const { child, order, stop, kill } = await startPeer(side);
  const large = side.pd.registerMemory({ bytes, access });
  const other = side.pd.registerMemory({ bytes: 4096, access });
  const view = new Uint8Array(large.buffer);
  await order('write', bytes, large);
  await until('it writes', () => view[0] !== 0);
  // A stop also hits what lies between two pieces of a copy. The pages show where the peer is.
  let stops = 1;
  await stop();
  for (; !isCutPage(view) && stops < 500; stops++) {
    child.kill('SIGCONT');
    const untilMs = performance.now() + 10 * Math.random();
    while (performance.now() < untilMs);
    await stop();
  }
  t.ok(isCutPage(view), `the peer was stopped inside (${stops} stops)`);
  t.equal(
    codeOf(() => other.deregister()),
    'none',
    'another region goes',
  );
  for (const time of ['once', 'twice'])
    t.equal(
      codeOf(() => large.deregister()),
      'EBUSY',
      `its region does not (${time})`,
    );
  child.kill('SIGCONT');
  await until('it has left', () => codeOf(() => large.deregister()) === 'none');
  const after = Buffer.from(large.buffer.slice(0));
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.ok(after.equals(Buffer.from(large.buffer)), 'and nothing changes any more');
  await kill();
  side.device.close();
});

void t.test('senders that are killed take no shared receive with them', async (t) => {
  const hub = openSide({ access, bytes: 1 << 20 });
  const srq = hub.pd.createSharedReceiveQueue({ maxWr: 16 });
  const bytes = 60_000;
  const post = (wrId: number) => {
    srq.receives.into(0, wrId, hub.mr.address + wrId * 65536, 65536, hub.mr.lkey);
    srq.postReceive(1);
  };
  for (let i = 0; i < 16; i++) post(i);
  const qps = [];
  for (let round = 0; round < 6; round++) {
    const qp = hub.pd.createQueuePair({ sendCq: hub.cq, sharedReceiveQueue: srq });
    qps.push(qp);
    const peer = await startPeer(hub, qp);
    await peer.order('send', bytes);
    // Some traffic, every receive posted again; then it dies somewhere in the middle.
    for (let i = 0; i < 50 + round * 7; i++) post((await takeOne(hub.cq)).wrId);
    await peer.kill();
    await until('its death is known', () => qp.query().state === QpState.ERROR);
    // What had arrived, and what it held: each comes back once.
    let idle = 0;
    await until('all have come back', () => {
      const count = hub.cq.poll();
      for (let i = 0; i < count; i++) post(hub.cq.completions.wrId(i));
      idle = count === 0 ? idle + 1 : 0;
      return idle > 200;
    });
  }
  // All sixteen are there: a new sender fills them all, and not one more.
  const last = openSide();
  const qp = hub.pd.createQueuePair({ sendCq: hub.cq, sharedReceiveQueue: srq });
  connectSides(last, { ...hub, qp }, { rnrRetry: 0, minRnrTimer: 1 });
  for (let i = 0; i < 17; i++) {
    last.qp.sends.send(0, i, SIGNALED, last.mr.address, 8, last.mr.lkey);
    last.qp.postSend(1);
    t.equal((await takeOne(last.cq)).status, i < 16 ? Status.SUCCESS : Status.RNR_RETRY_EXCEEDED, `SEND ${i}`);
  }
  t.same(
    (await take(hub.cq, 16)).map((wc) => wc.wrId).sort((x, y) => x - y),
    Array.from({ length: 16 }, (_, i) => i),
  );
  last.device.close();
  for (const each of [...qps, qp]) each.close();
  srq.close();
  hub.device.close();
});

void t.test('senders of datagrams that are killed cost no capacity for good', async (t) => {
  const hub = openSide({ type: QpType.UD, maxRecvWr: 4, bytes: 1 << 16 });
  hub.qp.activate(hub.address, 1);
  const post = (wrId: number) => {
    hub.qp.receives.into(0, wrId, hub.mr.address + wrId * 8192, 8192, hub.mr.lkey);
    hub.qp.postReceive(1);
  };
  for (let i = 0; i < 4; i++) post(i);
  for (let round = 0; round < 6; round++) {
    const peer = await startPeer(hub);
    await peer.order('datagrams', 4000);
    for (let i = 0; i < 40 + 7 * round; i++) post((await takeOne(hub.cq)).wrId);
    await peer.kill();
    const count = hub.cq.poll();
    for (let i = 0; i < count; i++) post(hub.cq.completions.wrId(i));
  }
  t.equal(hub.qp.query().state, QpState.READY_TO_SEND);
  const a = openSide({ type: QpType.UD });
  a.qp.activate(a.address, 1);
  const to = a.pd.createAddressHandle(pathTo(a.address, hub.qp.endpoint(hub.address)));
  for (let i = 0; i < 20; i++) {
    a.qp.sends.send(0, i, SIGNALED, a.mr.address, 8, a.mr.lkey);
    a.qp.sends.to(0, to.number, hub.qp.qpNum, 1);
    a.qp.postSend(1);
    t.equal((await takeOne(a.cq)).status, Status.SUCCESS);
    post((await takeOne(hub.cq)).wrId);
  }
  a.device.close();
  hub.device.close();
});

void t.test('a send queue that has drained says so, and goes on when it may', async (t) => {
  using pair = openPair({}, { rnrRetry: 7 });
  const { a, b } = pair;
  const events: AsyncEvent[] = [];
  a.device.onAsyncEvent((event) => events.push(event));
  for (const wrId of [1, 2]) a.qp.sends.send(wrId - 1, wrId, SIGNALED, a.mr.address, 8, a.mr.lkey);
  a.qp.postSend(2);
  a.qp.modify({ state: QpState.SEND_QUEUE_DRAINED, notifyWhenDrained: true });
  t.match(a.qp.query(), { state: QpState.SEND_QUEUE_DRAINED, isDraining: true }, 'the first one waits for a receive');
  for (const wrId of [5, 6]) b.qp.receives.empty(wrId - 5, wrId);
  for (const i of [0, 1]) b.qp.receives.into(i, i + 5, b.mr.address, 8, b.mr.lkey);
  b.qp.postReceive(2);
  t.match(await takeOne(a.cq), { wrId: 1, status: Status.SUCCESS });
  await until('it has drained', () => events.length > 0);
  t.match(events, [{ name: 'SQ_DRAINED', queuePair: a.qp }]);
  t.equal(a.cq.poll(), 0, 'the second one was not begun');
  t.equal(a.qp.query().isDraining, false);
  a.qp.modify({ state: QpState.READY_TO_SEND });
  t.match(await takeOne(a.cq), { wrId: 2, status: Status.SUCCESS });
});

void t.test("a caller's own Buffer refuses atomics, and its revocation is final", async (t) => {
  const side = openSide({ access });
  const own = Buffer.alloc(1 << 20);
  const bytes = own.length;
  t.throws(() => side.pd.registerMemory({ buffer: own, access }), { code: 'ENOTSUP' });
  const { order, kill } = await startPeer(side);
  const mr = side.pd.registerMemory({ buffer: own, access: FULL_ACCESS });
  await order('write', bytes, mr);
  await until('it writes', () => own[0] !== 0);
  await until('it is revoked', () => codeOf(() => mr.deregister()) === 'none');
  const before = Buffer.from(own);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.ok(before.equals(own));
  mr.close();
  await kill();
  side.device.close();
});
