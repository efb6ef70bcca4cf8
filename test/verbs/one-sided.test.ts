// Proves that soft0 is one-sided and that its revocation is final: the target's CPU takes no part in a WRITE, a READ or
// an atomic (its event loop is blocked, or the whole process is stopped), and once deregister() or close() has returned
// no byte of the target's memory changes any more.
import t from 'tap';
import { CompletionStatus as Status, SendFlags } from '../../src/ts/verbs/index.js';
import { haveThreadsStopped } from '../stopped.js';
import { ask, openPeer } from './peers.js';
import { fill, isFilled, message, openPair, readCompletions, takeOne, until } from './support.js';

const { SIGNALED } = SendFlags;
type Peer = Awaited<ReturnType<typeof openPeer>>;

async function writeAndReadBack({ side, address, rkey }: Peer, seed: number): Promise<boolean> {
  const half = 1 << 19;
  const { qp, mr, cq, bytes } = side;
  fill(bytes.subarray(0, half), seed);
  qp.sends.write(0, 1, SIGNALED, address, rkey, mr.address, half, mr.lkey);
  qp.sends.read(1, 2, SIGNALED, address, rkey, mr.address + half, half, mr.lkey);
  qp.postSend(2);
  const statuses = [(await takeOne(cq)).status, (await takeOne(cq)).status];
  return statuses.every((status) => status === Status.SUCCESS) && isFilled(bytes.subarray(half), seed);
}

/** Adds to a word behind what writeAndReadBack() uses, and swaps it; what the word was each time. */
async function addAndSwap({ side, address, rkey }: Peer, add: bigint, swap: bigint): Promise<[bigint, bigint]> {
  const { qp, mr, cq } = side;
  const word = (1 << 20) - 64;
  qp.sends.fetchAdd(0, 1, SIGNALED, address + word, rkey, add, mr.address + word, mr.lkey);
  qp.sends.compareSwap(1, 2, SIGNALED, address + word, rkey, add, swap, mr.address + word + 8, mr.lkey);
  qp.postSend(2);
  for (let i = 0; i < 2; i++) {
    const { status } = await takeOne(cq);
    if (status !== Status.SUCCESS) throw new Error(`an atomic ended with status ${status}`);
  }
  const [added, swapped] = new BigUint64Array(mr.buffer, word, 2);
  return [added!, swapped!];
}

void t.test('WRITE, READ and atomics complete while the target runs a JavaScript loop', async (t) => {
  const peer = await openPeer();
  const { child, side, address, rkey, close } = peer;
  const spinning = message(child);
  child.send({ do: 'spin' });
  t.equal(await spinning, 'spinning');
  t.ok(await writeAndReadBack(peer, 9));
  t.same(await addAndSwap(peer, 5n, 0n), [0n, 5n]);
  t.same(await addAndSwap(peer, 6n, 0n), [0n, 6n], 'the swap was made');
  const saw = message(child);
  side.bytes[0] = 0x42;
  side.qp.sends.write(0, 3, SIGNALED, address, rkey, side.mr.address, 1, side.mr.lkey);
  side.qp.postSend(1);
  t.match(await takeOne(side.cq), { status: Status.SUCCESS });
  t.equal(await saw, true, 'the loop itself saw the byte');
  await close();
});

void t.test('WRITE, READ and atomics complete while the target is stopped by SIGSTOP', async (t) => {
  const peer = await openPeer();
  const { child, close } = peer;
  child.kill('SIGSTOP');
  await until('the peer is stopped', () => haveThreadsStopped(child.pid!));
  t.ok(await writeAndReadBack(peer, 11));
  t.same(await addAndSwap(peer, 5n, 0n), [0n, 5n]);
  t.same(await addAndSwap(peer, 6n, 0n), [0n, 6n], 'the swap was made');
  t.ok(haveThreadsStopped(child.pid!), 'it was stopped all the time');
  child.kill('SIGCONT');
  t.equal(await ask(child, { do: 'check', seed: 11, bytes: 1 << 19 }), true);
  await close();
});

void t.test('a stopped target of which the queue pair is not ready makes a request wait, not hang', async (t) => {
  const { child, side, close } = await openPeer({ timeout: 8, retryCount: 0, rnrRetry: 1 });
  child.kill('SIGSTOP');
  await until('the peer is stopped', () => haveThreadsStopped(child.pid!));
  side.qp.sends.send(0, 1, SIGNALED, side.mr.address, 8, side.mr.lkey);
  side.qp.postSend(1);
  t.match(await takeOne(side.cq), { status: Status.RNR_RETRY_EXCEEDED });
  child.kill('SIGCONT');
  await close();
});

for (const how of ['deregister', 'close'] as const) {
  const status = how === 'deregister' ? Status.REMOTE_ACCESS_ERROR : Status.RETRY_EXCEEDED;
  void t.test(`once ${how}() has returned no WRITE under way changes a byte, and the next one fails`, async (t) => {
    for (let round = 0; round < 5; round++) {
      const { child, side, address, rkey, close } = await openPeer({ timeout: 8, retryCount: 1 });
      const { qp, mr, cq, bytes } = side;
      const answered = message(child);
      child.send({ do: how });
      // A stream of large WRITEs, each with other bytes, until the revocation stops it.
      let statusSeen: number = Status.SUCCESS;
      let value = 0;
      let outstanding = 0;
      await until('the stream is stopped', () => {
        while (outstanding < 8) {
          bytes.fill(++value, 0, 4096);
          qp.sends.write(0, value, SIGNALED, address, rkey, mr.address, 1 << 20, mr.lkey);
          qp.postSend(1);
          outstanding++;
        }
        const done = readCompletions(cq, cq.poll());
        outstanding -= done.length;
        statusSeen = done.find((wc) => wc.status !== Status.SUCCESS)?.status ?? statusSeen;
        return statusSeen !== Status.SUCCESS;
      });
      t.equal(statusSeen, status);
      t.equal(await answered, true);
      t.equal(await ask(child, { do: 'compare' }), true, 'memory is as it was when the call returned');
      await close();
    }
  });
}

void t.test('once a receive has been flushed, or completed, no byte of its buffer changes', async (t) => {
  const bytes = 8 << 20;
  let flushed = 0;
  for (let round = 1; round <= 20; round++) {
    using pair = openPair({ bytes }, { timeout: 1, retryCount: 0 });
    const { a, b } = pair;
    b.qp.receives.into(0, 1, b.mr.address, bytes, b.mr.lkey);
    b.qp.postReceive(1);
    a.bytes.fill(round);
    // The posting thread copies a part; the rest is under way when the receiver stops.
    a.qp.sends.send(0, 1, SIGNALED, a.mr.address, bytes, a.mr.lkey);
    a.qp.postSend(1);
    b.qp.toError();
    const seen: number[] = [];
    await until('the receive has completed', () => {
      if (b.cq.poll() === 0) return false;
      // At once, and only here and there, so that a copy under way would still be under way.
      for (let i = 0; i < bytes; i += 4096) seen.push(b.bytes[i]!);
      return true;
    });
    if (b.cq.completions.status(0) === Status.FLUSHED) flushed++;
    await takeOne(a.cq);
    const changed = seen.filter((value, i) => value !== b.bytes[i * 4096]).length;
    if (changed > 0) t.fail(`round ${round}: ${changed} pages changed`);
  }
  t.ok(flushed > 0, `${flushed} of 20 were flushed`);
});
