// Proves, on soft0 and on rxe0 alike, that two processes exchange data in every way that verbs has, and that a process
// which is killed ends the other's requests with "retry exceeded" within bounded time.
import t from 'tap';
import { CompletionStatus as Status, SendFlags } from '../../src/ts/verbs/index.js';
import { ask, openPeer } from './peers.js';
import { ended, fill, isFilled, isSoft, take, takeOne, type Wc } from './support.js';

const { SIGNALED } = SendFlags;
const bytes = 200_000;

void t.test('two processes WRITE, READ and SEND to each other', async (t) => {
  const { child, side, address, rkey, close } = await openPeer();
  fill(side.bytes.subarray(0, bytes), 1);
  side.qp.sends.write(0, 1, SIGNALED, address, rkey, side.mr.address, bytes, side.mr.lkey);
  side.qp.postSend(1);
  t.match(await takeOne(side.cq), { wrId: 1, status: Status.SUCCESS });
  t.equal(await ask(child, { do: 'check', seed: 1, bytes }), true, 'WRITE');

  await ask(child, { do: 'fill', seed: 2, bytes });
  side.qp.sends.read(0, 2, SIGNALED, address, rkey, side.mr.address, bytes, side.mr.lkey);
  side.qp.postSend(1);
  t.match(await takeOne(side.cq), { wrId: 2, status: Status.SUCCESS, byteLength: bytes });
  t.ok(isFilled(side.bytes.subarray(0, bytes), 2), 'READ');

  await ask(child, { do: 'receive', bytes });
  fill(side.bytes.subarray(0, bytes), 3);
  side.qp.sends.sendWithImm(0, 3, SIGNALED, 0x80000001, side.mr.address, bytes, side.mr.lkey);
  side.qp.postSend(1);
  t.match(await ask<Wc>(child, { do: 'take' }), {
    wrId: 5,
    status: Status.SUCCESS,
    imm: 0x80000001,
    byteLength: bytes,
  });
  t.equal(await ask(child, { do: 'check', seed: 3, bytes }), true, 'SEND');
  t.match(await takeOne(side.cq), { wrId: 3, status: Status.SUCCESS });

  side.qp.receives.into(0, 9, side.mr.address, bytes, side.mr.lkey);
  side.qp.postReceive(1);
  await ask(child, { do: 'fill', seed: 4, bytes });
  t.match(await ask<Wc>(child, { do: 'send', imm: 44, bytes }), { wrId: 6, status: Status.SUCCESS });
  t.match(await takeOne(side.cq), { wrId: 9, status: Status.SUCCESS, imm: 44 });
  t.ok(isFilled(side.bytes.subarray(0, bytes), 4), 'SEND the other way');
  await close();
});

void t.test(
  'after a peer process was killed, requests end with retry exceeded and later ones are flushed',
  async (t) => {
    const { child, side, address, rkey, close } = await openPeer({ timeout: 12, retryCount: 3, rnrRetry: 7 });
    // One waits for a receive when it happens, and for ever if nobody noticed.
    side.qp.sends.send(0, 1, SIGNALED, side.mr.address, 8, side.mr.lkey);
    side.qp.postSend(1);
    t.equal(side.cq.poll(), 0);
    const end = ended(child);
    child.kill('SIGKILL');
    t.equal((await end).how, 'SIGKILL');
    const started = performance.now();
    t.match(await takeOne(side.cq), { wrId: 1, status: Status.RETRY_EXCEEDED });
    const tookMs = performance.now() - started;
    t.ok(tookMs < (isSoft ? 1000 : 20_000), `it took ${tookMs.toFixed(0)} ms`);
    side.qp.sends.write(0, 2, 0, address, rkey, side.mr.address, 8, side.mr.lkey);
    side.qp.postSend(1);
    t.match(await takeOne(side.cq), { wrId: 2, status: Status.FLUSHED });
    await close();
  },
);

void t.test('a peer killed in the middle of a stream of WRITEs loses none of the completions', async (t) => {
  const { child, side, address, rkey, close } = await openPeer({ timeout: 12, retryCount: 3 });
  const end = ended(child);
  let failed: Wc | undefined;
  let next = 0;
  let expected = 0;
  for (let round = 0; failed === undefined; round++) {
    if (round === 20) child.kill('SIGKILL');
    for (let i = 0; i < 16; i++) {
      side.qp.sends.write(i, next++, SIGNALED, address, rkey, side.mr.address, 65536, side.mr.lkey);
    }
    side.qp.postSend(16);
    for (const wc of await take(side.cq, 16)) {
      if (wc.wrId !== expected++) throw new Error(`completion ${wc.wrId} came instead of ${expected - 1}`);
      if (wc.status === Status.SUCCESS && failed === undefined) continue;
      failed ??= wc;
      if (wc !== failed && wc.status !== Status.FLUSHED) throw new Error(`status ${wc.status} after the failure`);
    }
  }
  t.match(failed, { status: Status.RETRY_EXCEEDED });
  t.equal((await end).how, 'SIGKILL');
  await close();
});
