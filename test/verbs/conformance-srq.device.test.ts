// Proves, on soft0 and on rxe0 alike, that many queue pairs take from one shared receive queue, each receive once, in
// the order in which they were posted, and what becomes of it when it is empty or a queue pair stops.
import t from 'tap';
import { CompletionStatus as Status, QpState, SendFlags, type SharedReceiveQueue } from '../../src/ts/verbs/index.js';
import { codeOf, connectSides, fill, isFilled, isSoft, openSide, type Side, take, takeOne, until } from './support.js';

const { SIGNALED } = SendFlags;

function openStar(senders: number, maxWr = 64, connect = {}) {
  const hub = openSide();
  const srq = hub.pd.createSharedReceiveQueue({ maxWr, maxSge: 2 });
  const ends = Array.from({ length: senders }, () => {
    const a = openSide({ maxInlineData: 0 });
    const b = { ...hub, qp: hub.pd.createQueuePair({ sendCq: hub.cq, sharedReceiveQueue: srq }) };
    connectSides(a, b, connect);
    return { a, b };
  });
  const close = () => {
    for (const { a } of ends) a.device.close();
    hub.device.close();
  };
  return { hub, srq, ends, close };
}

function post(srq: SharedReceiveQueue, hub: Side, first: number, count: number, bytes = 256) {
  for (let i = 0; i < count; i++) {
    srq.receives.into(i, first + i, hub.mr.address + (first + i) * 256, bytes, hub.mr.lkey);
  }
  srq.postReceive(count);
}

function send({ qp, mr }: Side, wrId: number, length: number) {
  qp.sends.sendWithImm(0, wrId, SIGNALED, wrId, mr.address, length, mr.lkey);
  qp.postSend(1);
}

void t.test('each receive is taken once, in order, whoever sends', async (t) => {
  const { hub, srq, ends, close } = openStar(3);
  post(srq, hub, 0, 48);
  for (let i = 0; i < 48; i++) {
    const { a, b } = ends[i % 3]!;
    fill(a.bytes.subarray(0, 200), i);
    send(a, 1000 + i, 200);
    t.match(await takeOne(a.cq), { wrId: 1000 + i, status: Status.SUCCESS });
    t.match(await takeOne(hub.cq), {
      wrId: i,
      status: Status.SUCCESS,
      imm: 1000 + i,
      byteLength: 200,
      qpNum: b.qp.qpNum,
    });
    t.ok(isFilled(hub.bytes.subarray(i * 256, i * 256 + 200), i));
  }
  close();
});

void t.test('a sender waits for a receive, and is woken by it', async (t) => {
  const { hub, srq, ends, close } = openStar(2, 8, { rnrRetry: 7, minRnrTimer: 1 });
  for (const { a } of ends) send(a, 1, 64);
  for (const { a } of ends) t.equal(a.cq.poll(), 0);
  const started = performance.now();
  post(srq, hub, 0, 2);
  const received = await take(hub.cq, 2);
  t.ok(performance.now() - started < (isSoft ? 500 : 30_000));
  t.same(received.map((wc) => wc.wrId).sort(), [0, 1]);
  for (const { a } of ends) t.match(await takeOne(a.cq), { status: Status.SUCCESS });
  close();
});

void t.test('an empty queue ends in RNR retries, and a full one is refused', async (t) => {
  const { hub, srq, ends, close } = openStar(1, 8, { rnrRetry: 1, minRnrTimer: 1 });
  send(ends[0]!.a, 1, 64);
  t.match(await takeOne(ends[0]!.a.cq), { status: Status.RNR_RETRY_EXCEEDED });
  // How many more than it says rxe takes is its own affair.
  if (isSoft) {
    const { maxWr } = srq.capabilities;
    for (let i = 0; i < maxWr; i++) post(srq, hub, i, 1);
    t.match(
      codeOf(() => post(srq, hub, 0, 1)),
      /ENOMEM|RDMA_ERR_QUEUE_FULL/,
    );
    t.equal(
      codeOf(() => srq.modify({ limit: maxWr + 1 })),
      'EINVAL',
    );
  }
  close();
});

void t.test('a queue pair that stops leaves the receives to the others', async (t) => {
  const { hub, srq, ends, close } = openStar(2);
  post(srq, hub, 0, 4);
  ends[0]!.b.qp.toError();
  await until('it has stopped', () => ends[0]!.b.qp.query().state === QpState.ERROR);
  for (let i = 0; i < 4; i++) send(ends[1]!.a, i, 64);
  t.same(
    (await take(hub.cq, 4)).map((wc) => [wc.wrId, wc.status]),
    [0, 1, 2, 3].map((i) => [i, Status.SUCCESS]),
  );
  ends[1]!.b.qp.close();
  ends[0]!.b.qp.close();
  srq.close();
  close();
});

void t.test('a shared queue in use cannot be closed, and takes no receives through a queue pair', async (t) => {
  const { srq, ends, hub, close } = openStar(1);
  t.not(
    codeOf(() => {
      ends[0]!.b.qp.receives.into(0, 1, hub.mr.address, 8, hub.mr.lkey);
      ends[0]!.b.qp.postReceive(1);
    }),
    'none',
  );
  t.ok(srq.query().maxWr >= 64);
  close();
});

void t.test('receives that were posted many times round come back each time', async (t) => {
  const rounds = isSoft ? 2000 : 60;
  const { hub, srq, ends, close } = openStar(2, 4);
  post(srq, hub, 0, 4);
  let wrong = 0;
  for (let i = 0; i < rounds; i++) {
    send(ends[i % 2]!.a, i, 32);
    await takeOne(ends[i % 2]!.a.cq);
    const { wrId, imm, status } = await takeOne(hub.cq);
    if (wrId !== i % 4 || imm !== i || status !== Status.SUCCESS) wrong++;
    post(srq, hub, wrId, 1);
  }
  t.equal(wrong, 0);
  close();
});
