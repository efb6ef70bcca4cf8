// Proves that the call which posts and polls does what the two calls do, and that a poll looks as often as its argument
// says, whatever the other arguments are.
import t from 'tap';
import { SendFlags } from '../../src/ts/verbs/index.js';
import { hotCalls } from '../../src/ts/addon/hot-calls.js';
import { codeOf, openPair, take, takeOne } from '../verbs/support.js';

const { SIGNALED } = SendFlags;
type Pair = ReturnType<typeof openPair>;

function fill({ a, b }: Pair, index: number, wrId: number): void {
  a.qp.sends.write(index, wrId, SIGNALED, b.mr.address, b.mr.rkey, a.mr.address, 8, a.mr.lkey);
}

void t.test('what postSendAndPoll posts completes, there or at a later poll', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  a.bytes.fill(7, 0, 8);
  fill(pair, 0, 5);
  const polled = a.qp.postSendAndPoll(1, 1, 1 << 16);
  const wrId = polled === 1 ? a.cq.completions.wrId(0) : (await takeOne(a.cq)).wrId;
  t.equal(wrId, 5);
  t.same(
    [...b.bytes.subarray(0, 8)],
    Array.from({ length: 8 }, () => 7),
  );
  for (let i = 0; i < 4; i++) fill(pair, i, i);
  const first = a.qp.postSendAndPoll(4, 2);
  t.ok(first >= 0 && first <= 2, `${first} at most 2 were asked for`);
  t.equal((await take(a.cq, 4 - first)).length, 4 - first);
  t.match(a.qp.counters, { sendsPosted: 5, sendsCompleted: 5, doorbells: 2 });
});

void t.test('a refused post is reported as postSend reports it, and nothing is polled', async (t) => {
  using pair = openPair({ maxSendWr: 4 });
  const { a } = pair;
  const polls = a.cq.counters.polls;
  t.equal(
    codeOf(() => a.qp.postSendAndPoll(a.qp.sends.capacity + 1)),
    'EINVAL',
  );
  a.qp.sends.set(0, 99, 1, SIGNALED, 0, 0, 0, []);
  t.equal(
    codeOf(() => a.qp.postSendAndPoll(1)),
    'EINVAL',
  );
  t.equal(a.cq.counters.polls, polls);
  a.qp.close();
  t.equal(
    codeOf(() => a.qp.postSendAndPoll(1)),
    'RDMA_ERR_CLOSED',
  );
});

void t.test('a promise that waits in the same queue gets its completion, and the caller its own', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const remote = { address: b.mr.address, rkey: b.mr.rkey };
  const waiting = a.qp.operations.write([{ address: a.mr.address, length: 8, lkey: a.mr.lkey }], remote);
  fill(pair, 0, 77);
  const polled = a.qp.postSendAndPoll(1, 4, 64);
  const { wrId } = polled > 0 ? { wrId: a.cq.completions.wrId(0) } : await takeOne(a.cq);
  t.equal(wrId, 77);
  t.equal(await waiting, undefined);
});

void t.test('a poll looks as often as its argument says, at least once, and counts each look', async (t) => {
  using pair = openPair();
  const { a } = pair;
  for (const [looks, counted] of [
    [1, 1],
    [100, 100],
    [0, 1],
    [Number.NaN, 1],
    [2.9, 2],
  ] as const) {
    const before = a.cq.counters.emptyPolls;
    t.equal(a.cq.poll(1, looks), 0);
    t.equal(a.cq.counters.emptyPolls - before, counted, String(looks));
  }
  const before = a.cq.counters.polls;
  t.equal(a.cq.poll(1, -1), 0, 'a million looks and no more');
  t.equal(a.cq.counters.polls - before, 1 << 20);
});

void t.test('an argument that runs code does not change what the call is for', async (t) => {
  using pair = openPair();
  const { a } = pair;
  fill(pair, 0, 6);
  const sly = {
    valueOf() {
      hotCalls().pollCq(0, 1, 1);
      return 1;
    },
  };
  t.equal(a.qp.postSend(sly as unknown as number), 1);
  t.equal((await takeOne(a.cq)).wrId, 6);
});

void t.test('the clock goes on and agrees with the one of the process', async (t) => {
  const clock = hotCalls();
  const before = Number(process.hrtime.bigint()) / 1e6;
  const now = clock.clockMs();
  const after = Number(process.hrtime.bigint()) / 1e6;
  t.ok(before - 0.001 <= now && now <= after + 0.001, `${before} ${now} ${after}`);
  t.equal(clock.stampMs, now);
});
