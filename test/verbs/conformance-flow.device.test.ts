// Proves, on soft0 and on rxe0 alike, that queues hold what they say: batches go with one doorbell and complete in
// order, whoever has polled a completion may post again at once, a full queue says how much it took, and queue pairs
// that share a completion queue are served in turn.
import t from 'tap';
import { CompletionStatus, SendFlags } from '../../src/ts/verbs/index.js';
import {
  codeOf,
  connectSides,
  fill,
  isFilled,
  isSoft,
  openPair,
  openSide,
  readCompletions,
  take,
  takeOne,
  until,
} from './support.js';

const { SIGNALED } = SendFlags;
const { SUCCESS } = CompletionStatus;

void t.test('64 requests go with one doorbell and complete in order', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  fill(a.bytes, 8);
  for (let i = 0; i < 64; i++) {
    a.qp.sends.write(i, i, SIGNALED, b.mr.address + i * 512, b.mr.rkey, a.mr.address + i * 512, 512, a.mr.lkey);
  }
  t.equal(a.qp.postSend(64), 64);
  const done = await take(a.cq, 64);
  t.same(
    done.map((wc) => wc.wrId),
    Array.from({ length: 64 }, (_, i) => i),
  );
  t.ok(done.every((wc) => wc.status === SUCCESS));
  t.ok(isFilled(b.bytes.subarray(0, 64 * 512), 8));
});

void t.test('a completion that was polled is room for one more, always', async (t) => {
  // Together more than the posting thread of soft0 does itself: another thread completes while this one posts.
  const bytes = isSoft ? 1 << 20 : 16384;
  const total = isSoft ? 1500 : 200;
  using pair = openPair({ bytes, maxSendWr: 4 });
  const { a, b } = pair;
  const room = a.qp.capabilities.maxSendWr;
  let posted = 0;
  let polled = 0;
  await until('all have completed', () => {
    while (posted < total && posted - polled < room) {
      const length = posted % 7 === 0 ? 8 : bytes;
      a.qp.sends.write(0, posted, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, length, a.mr.lkey);
      a.qp.postSend(1);
      posted++;
    }
    for (const wc of readCompletions(a.cq, a.cq.poll())) {
      if (wc.wrId !== polled || wc.status !== SUCCESS) throw new Error(`${polled} is ${JSON.stringify(wc)}`);
      polled++;
    }
    return polled === total;
  });
  t.equal(polled, total, 'in order, and never a full queue');
});

void t.test('a full send queue takes what fits, says how much, and has room again after completions', async (t) => {
  using pair = openPair({ maxSendWr: 8 }, { rnrRetry: 7 });
  const { a, b } = pair;
  const room = a.qp.capabilities.maxSendWr;
  const count = Math.min(a.qp.sends.capacity, room);
  const send = (index: number) => a.qp.sends.send(index, index, SIGNALED, a.mr.address, 8, a.mr.lkey);
  for (let i = 0; i < count; i++) send(i);
  let posted = 0;
  const postAll = () => {
    for (;;) posted += a.qp.postSend(count);
  };
  t.equal(codeOf(postAll), 'RDMA_ERR_QUEUE_FULL');
  t.throws(() => a.qp.postSend(1), { code: 'RDMA_ERR_QUEUE_FULL', taken: 0 });
  for (let i = 0; i < count; i++) b.qp.receives.into(i, i, b.mr.address, 8, b.mr.lkey);
  b.qp.postReceive(count);
  await take(b.cq, count);
  await take(a.cq, count);
  for (let i = 0; i < count; i++) send(i);
  a.qp.postSend(count);
  t.throws(() => a.qp.postSend(1), { code: 'RDMA_ERR_QUEUE_FULL' });
  t.ok(posted >= 8);
});

void t.test('a batch that does not fit whole is taken up to where it fits', async (t) => {
  using pair = openPair({ maxSendWr: 100 }, { rnrRetry: 7 });
  const { a } = pair;
  const room = a.qp.capabilities.maxSendWr;
  for (let i = 0; i < a.qp.sends.capacity; i++) a.qp.sends.send(i, i, SIGNALED, a.mr.address, 8, a.mr.lkey);
  let posted = a.qp.postSend(Math.min(60, room));
  let taken = 0;
  while (posted <= room + 64) {
    try {
      posted += a.qp.postSend(60);
    } catch (error) {
      taken = (error as { taken: number }).taken;
      t.match(error, { code: 'RDMA_ERR_QUEUE_FULL' });
      break;
    }
  }
  t.ok(taken < 60 && posted + taken >= room - 1, `${posted} + ${taken} of ${room}`);
  a.qp.toError();
  const all = await take(a.cq, posted + taken);
  t.equal(all.length, posted + taken, 'exactly what was taken completes');
  t.equal(a.cq.poll(), 0);
});

void t.test('of two queue pairs that share a completion queue, a busy one does not hide the other', async (t) => {
  const a = openSide();
  const b = openSide();
  const second = a.pd.createQueuePair({ sendCq: a.cq });
  const far = b.pd.createQueuePair({ sendCq: b.cq });
  connectSides(a, b);
  connectSides({ ...a, qp: second }, { ...b, qp: far });
  const post = (qp: typeof second) => {
    qp.sends.write(0, qp.qpNum, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
    qp.postSend(1);
  };
  for (const [busy, quiet] of [
    [a.qp, second],
    [second, a.qp],
  ] as const) {
    for (let i = 0; i < 8; i++) post(busy);
    post(quiet);
    let polls = 0;
    for (let found = false; !found; polls++) {
      if (polls > 64) throw new Error('the quiet one was never seen');
      found = (await takeOne(a.cq)).wrId === quiet.qpNum;
      if (!found) post(busy);
    }
    await take(a.cq, 8);
  }
  t.equal(a.cq.poll(), 0);
  a.device.close();
  b.device.close();
});
