// Proves that counters count what happened, exactly, cost no call to read, and stay as they were after close().
import t from 'tap';
import { SendFlags } from '../../src/ts/verbs/index.js';
import { openPair, takeOne } from './support.js';

void t.test('each operation is counted where it happens, once', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const counters = a.qp.counters;
  t.same(
    { ...counters },
    {
      sendsPosted: 0,
      receivesPosted: 0,
      bytesPosted: 0,
      sendsCompleted: 0,
      receivesCompleted: 0,
      bytesReceived: 0,
      errors: 0,
      doorbells: 0,
    },
  );
  b.qp.receives.into(0, 1, b.mr.address, 4096, b.mr.lkey);
  b.qp.postReceive(1);
  for (let i = 0; i < 3; i++) {
    const flags = i === 2 ? SendFlags.SIGNALED : 0;
    a.qp.sends.write(i, i, flags, b.mr.address, b.mr.rkey, a.mr.address, 100 + i, a.mr.lkey);
  }
  a.qp.postSend(3);
  await takeOne(a.cq);
  a.qp.sends.send(0, 9, SendFlags.SIGNALED, a.mr.address, 50, a.mr.lkey);
  a.qp.postSend(1);
  await takeOne(a.cq);
  await takeOne(b.cq);
  t.match(counters, { sendsPosted: 4, bytesPosted: 353, sendsCompleted: 2, doorbells: 2, errors: 0, bytesReceived: 0 });
  t.match(b.qp.counters, { receivesPosted: 1, receivesCompleted: 1, bytesReceived: 50, sendsPosted: 0 });
  t.match(b.cq.counters, { completions: 1, errors: 0, bytesReceived: 50, wakes: 0 });
  t.equal(b.cq.counters.polls - b.cq.counters.emptyPolls, 1);
  const before = a.cq.counters.emptyPolls;
  a.cq.poll();
  a.cq.poll();
  t.equal(a.cq.counters.emptyPolls, before + 2);
  a.qp.toError();
  a.qp.sends.send(0, 10, 0, a.mr.address, 50, a.mr.lkey);
  a.qp.postSend(1);
  await takeOne(a.cq);
  t.match(counters, { errors: 1, sendsCompleted: 2 });
  t.equal(a.cq.counters.errors, 1);
  const last = JSON.parse(JSON.stringify(counters));
  a.device.close();
  t.same(JSON.parse(JSON.stringify(counters)), last, 'they stay after close');
  t.equal(a.cq.counters.errors, 1);
});

void t.test('two queue pairs on one completion queue are told apart', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const more = Array.from({ length: 40 }, () => a.pd.createQueuePair({ sendCq: a.cq }));
  const peers = more.map((qp) => {
    const peer = b.pd.createQueuePair({ sendCq: b.cq });
    qp.connect(a.address, peer.endpoint(b.address));
    peer.connect(b.address, qp.endpoint(a.address), { access: 2 });
    return peer;
  });
  for (const [i, qp] of more.entries()) {
    for (let n = 0; n <= i % 3; n++) {
      qp.sends.write(0, n, SendFlags.SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
      qp.postSend(1);
      await takeOne(a.cq);
    }
  }
  for (const [i, qp] of more.entries()) t.equal(qp.counters.sendsCompleted, (i % 3) + 1);
  more[0]!.close();
  t.equal(more[0]!.counters.sendsCompleted, 1);
  t.equal(peers[0]!.counters.sendsCompleted, 0);
});
