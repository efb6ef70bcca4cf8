// Proves that the promise of an operation settles with what the device said, that a signal or deadline ends the waiting
// and not the work, and that promises and poll() share a queue pair without taking each other's completions.
import t from 'tap';
import {
  AccessFlags,
  CompletionOpcode,
  CompletionStatus,
  isRdmaError,
  pathTo,
  QpType,
  type RdmaError,
  SendFlags,
} from '../../src/ts/verbs/index.js';
import { connectSides, FULL_ACCESS, fill, isFilled, openPair, openSide, take, takeOne } from './support.js';

const ATOMIC_ACCESS = FULL_ACCESS | AccessFlags.REMOTE_ATOMIC;

async function failure(promise: Promise<unknown>): Promise<RdmaError & { status?: number; settled?: Promise<void> }> {
  try {
    await promise;
  } catch (error) {
    if (isRdmaError(error)) return error;
    throw error;
  }
  throw new Error('the promise was fulfilled');
}

void t.test('write, read, send and receive', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  fill(a.bytes, 1);
  const remote = { address: b.mr.address, rkey: b.mr.rkey };
  await a.qp.operations.write(a.mr.piece(0, 5000), remote);
  t.ok(isFilled(b.bytes.subarray(0, 5000), 1), 'the bytes are there when the promise is fulfilled');
  const notified = b.qp.operations.receive([]);
  await a.qp.operations.write(a.mr.piece(0, 10), { ...remote, address: remote.address + 8000 }, { imm: 77 });
  t.match(await notified, { opcode: CompletionOpcode.RECEIVE_WITH_IMM, imm: 77, byteLength: 10, hasGrh: false });
  await a.qp.operations.read(a.mr.piece(20_000, 4000), remote);
  t.ok(isFilled(a.bytes.subarray(20_000, 24_000), 1));
  const arrival = b.qp.operations.receive(b.mr.piece(30_000, 100));
  await a.qp.operations.send([a.mr.piece(0, 40), a.mr.piece(40, 24)], { imm: 5 });
  t.match(await arrival, { opcode: CompletionOpcode.RECEIVE, imm: 5, byteLength: 64 });
  t.ok(isFilled(b.bytes.subarray(30_000, 30_064), 1));
  t.equal(a.qp.operations.pending + b.qp.operations.pending, 0);
});

void t.test('atomics give what was there before', async (t) => {
  using pair = openPair({ access: ATOMIC_ACCESS }, { access: ATOMIC_ACCESS });
  const { a, b } = pair;
  const word = new BigUint64Array(b.mr.buffer, 64, 1);
  const remote = { address: b.mr.address + 64, rkey: b.mr.rkey };
  word[0] = 40n;
  t.equal(await a.qp.operations.fetchAdd(remote, 2n), 40n);
  t.equal(word[0], 42n);
  t.equal(await a.qp.operations.compareSwap(remote, 41n, 1n), 42n, 'no swap');
  t.equal(word[0], 42n);
  t.equal(await a.qp.operations.compareSwap(remote, 42n, 0xffff_ffff_ffff_fffen), 42n);
  t.equal(word[0], 0xffff_ffff_ffff_fffen);
  t.equal(await a.qp.operations.fetchAdd(remote, 3n), 0xffff_ffff_ffff_fffen);
  t.equal(word[0], 1n, 'it wraps');
  const before = await Promise.all(Array.from({ length: 20 }, () => a.qp.operations.fetchAdd(remote, 1n)));
  t.same(
    before.toSorted((x, y) => Number(x - y)),
    Array.from({ length: 20 }, (_, i) => BigInt(i + 1)),
  );
});

void t.test('a memory window is bound under a new key, used, and taken back by either side', async (t) => {
  using pair = openPair({ access: FULL_ACCESS | AccessFlags.MW_BIND });
  const { a, b } = pair;
  const window = b.pd.allocateMemoryWindow();
  const old = window.rkey;
  const rkey = await b.qp.operations.bindWindow(window, b.mr, { offset: 4096, length: 4096 });
  t.equal(window.rkey, rkey);
  t.not(rkey, old);
  fill(a.bytes, 6);
  await a.qp.operations.write(a.mr.piece(0, 64), { address: b.mr.address + 4096, rkey });
  t.ok(isFilled(b.bytes.subarray(4096, 4160), 6));
  const told = b.qp.operations.receive(b.mr.piece(0, 16));
  await a.qp.operations.send(a.mr.piece(0, 4), { invalidateRkey: rkey });
  t.match(await told, { byteLength: 4, invalidatedRkey: rkey });
  const refused = await failure(a.qp.operations.write(a.mr.piece(0, 64), { address: b.mr.address + 4096, rkey }));
  t.match(refused, { code: 'RDMA_ERR_COMPLETION', status: CompletionStatus.REMOTE_ACCESS_ERROR });
  window.close();
});

void t.test('a shared receive queue feeds several queue pairs', async (t) => {
  const b = openSide();
  const srq = b.pd.createSharedReceiveQueue({ maxWr: 16 });
  const senders = [openSide(), openSide()];
  const pairs = senders.map((a) => {
    const qp = b.pd.createQueuePair({ sendCq: b.cq, sharedReceiveQueue: srq });
    connectSides(a, { ...b, qp });
    return qp;
  });
  const arrivals = [0, 1, 2, 3].map((i) => srq.receive(b.mr.piece(i * 64, 64)));
  for (const [i, a] of senders.entries()) {
    fill(a.bytes, i + 20);
    await a.qp.operations.send(a.mr.piece(0, 32 + i));
    await a.qp.operations.send(a.mr.piece(0, 48 + i), { imm: i });
  }
  const got = await Promise.all(arrivals);
  t.same(got.map((c) => c.byteLength).toSorted(), [32, 33, 48, 49]);
  t.throws(() => pairs[0]!.postReceive(1), { code: 'EINVAL' }, 'a queue pair with a shared queue has none of its own');
  const waiting = failure(srq.receive(b.mr.piece(0, 64)));
  b.device.close();
  t.equal((await waiting).code, 'RDMA_ERR_CLOSED');
  for (const a of senders) a.device.close();
});

void t.test('datagrams reach whoever knows number and key, with 40 bytes of header before the data', async (t) => {
  const [a, b] = [openSide({ type: QpType.UD }), openSide({ type: QpType.UD })];
  a.qp.activate(a.address, 0x1111);
  b.qp.activate(b.address, 0x2222);
  const endpoint = b.qp.endpoint(b.address);
  const addressHandle = a.pd.createAddressHandle(pathTo(a.address, endpoint));
  const arrival = b.qp.operations.receive(b.mr.piece(0, 1040));
  fill(a.bytes, 9);
  await a.qp.operations.send(a.mr.piece(0, 1000), {
    imm: 3,
    to: { addressHandle, qpNum: endpoint.qpNum, qkey: 0x2222 },
  });
  t.match(await arrival, { byteLength: 1040, imm: 3, sourceQp: a.qp.qpNum, hasGrh: true });
  t.ok(isFilled(b.bytes.subarray(40, 1040), 9));
  addressHandle.close();
  const gone = failure(
    a.qp.operations.send(a.mr.piece(0, 8), { to: { addressHandle, qpNum: endpoint.qpNum, qkey: 0x2222 } }),
  );
  t.equal((await gone).code, 'EINVAL');
  a.device.close();
  b.device.close();
});

void t.test('an unreliable connection carries SENDs and WRITEs, and refuses READs', async (t) => {
  using pair = openPair({ type: QpType.UC });
  const { a, b } = pair;
  fill(a.bytes, 4);
  const arrival = b.qp.operations.receive(b.mr.piece(0, 4000));
  await a.qp.operations.send(a.mr.piece(0, 3000));
  t.match(await arrival, { byteLength: 3000 });
  const told = b.qp.operations.receive([]);
  await a.qp.operations.write(a.mr.piece(0, 3000), { address: b.mr.address + 8192, rkey: b.mr.rkey }, { imm: 1 });
  await told;
  t.ok(isFilled(b.bytes.subarray(8192, 11_192), 4));
  const refused = await failure(a.qp.operations.read(a.mr.piece(0, 8), { address: b.mr.address, rkey: b.mr.rkey }));
  t.match(refused.code, /EINVAL|RDMA_ERR_COMPLETION|ENOTSUP/);
});

void t.test('what the peer forbids rejects with the status, and what follows is flushed', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const operations = a.qp.operations;
  const bad = operations.write(a.mr.piece(0, 8), { address: b.mr.address, rkey: (b.mr.rkey ^ 0x100) >>> 0 });
  const after = [1, 2].map(() =>
    failure(operations.write(a.mr.piece(0, 8), { address: b.mr.address, rkey: b.mr.rkey })),
  );
  t.match(await failure(bad), {
    code: 'RDMA_ERR_COMPLETION',
    status: CompletionStatus.REMOTE_ACCESS_ERROR,
    qpNum: a.qp.qpNum,
  });
  for (const error of await Promise.all(after)) t.match(error, { status: CompletionStatus.FLUSHED });
});

void t.test('a signal or a deadline ends the waiting; the receive stays posted until settled', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const abort = new AbortController();
  const aborted = failure(b.qp.operations.receive(b.mr.piece(0, 64), { signal: abort.signal }));
  const late = await failure(b.qp.operations.receive(b.mr.piece(64, 64), { timeoutMs: 5 }));
  t.equal(late.code, 'RDMA_ERR_TIMEOUT');
  abort.abort();
  const error = await aborted;
  t.equal(error.code, 'RDMA_ERR_ABORTED');
  t.equal(b.qp.operations.pending, 2);
  await a.qp.operations.send(a.mr.piece(0, 8));
  await error.settled;
  t.equal(b.qp.operations.pending, 1, 'the first message went into the first receive, which nobody waited for');
  const third = b.qp.operations.receive(b.mr.piece(128, 64));
  await a.qp.operations.send(a.mr.piece(0, 9));
  await a.qp.operations.send(a.mr.piece(0, 10));
  t.equal((await third).byteLength, 10);
  const early = await failure(a.qp.operations.send(a.mr.piece(0, 8), { signal: AbortSignal.abort() }));
  t.equal(early.code, 'RDMA_ERR_ABORTED');
  t.equal(b.cq.poll() + a.cq.poll(), 0);
});

void t.test('promises and poll() on one queue pair each see their own completions, all of them and once', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  const remote = { address: b.mr.address, rkey: b.mr.rkey };
  let fulfilled = 0;
  const promises: Promise<void>[] = [];
  for (let i = 0; i < 40; i++) {
    a.qp.sends.write(0, i, SendFlags.SIGNALED, remote.address, remote.rkey, a.mr.address, 8, a.mr.lkey);
    a.qp.postSend(1);
    promises.push(a.qp.operations.write(a.mr.piece(0, 8), remote).then(() => void fulfilled++));
  }
  const own = await take(a.cq, 40);
  t.same(
    own.map((wc) => wc.wrId),
    Array.from({ length: 40 }, (_, i) => i),
  );
  await Promise.all(promises);
  t.equal(fulfilled, 40);
  t.equal(a.cq.poll(), 0);
});

void t.test('more operations than the queue holds wait for room, in order', async (t) => {
  using pair = openPair({ maxSendWr: 4, maxRecvWr: 4 });
  const { a, b } = pair;
  const order: number[] = [];
  const arrivals = Array.from({ length: 50 }, (_, i) =>
    b.qp.operations.receive(b.mr.piece(i * 8, 8)).then(() => void order.push(i)),
  );
  const sends = Array.from({ length: 50 }, (_, i) => {
    a.bytes[i] = i;
    return a.qp.operations.send(a.mr.piece(i, 1));
  });
  t.ok(a.qp.operations.pending <= 50);
  await Promise.all([...sends, ...arrivals]);
  t.same(
    order,
    Array.from({ length: 50 }, (_, i) => i),
  );
  for (let i = 0; i < 50; i++) if (b.bytes[i * 8] !== i) t.fail(`message ${i} is not in its place`);
  t.equal(a.qp.counters.sendsCompleted, 50);
});

void t.test('a completion channel wakes the promise, and holds the process only while one waits', async (t) => {
  using pair = openPair();
  const { a, b } = pair;
  let events = 0;
  const channel = b.device.createCompletionChannel(() => events++);
  const cq = b.device.createCompletionQueue(16, channel);
  const qp = b.pd.createQueuePair({ sendCq: cq });
  const sender = openSide();
  connectSides(sender, { ...b, qp });
  const arrival = qp.operations.receive(b.mr.piece(0, 8));
  // It polls for a number of turns first, which take as long as the machine is busy.
  let polls = -1;
  for (let i = 0; i < 200 && cq.counters.polls !== polls; i++) {
    polls = cq.counters.polls;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(cq.counters.polls, polls, 'nothing is polled while it sleeps');
  await sender.qp.operations.send(sender.mr.piece(0, 8));
  t.match(await arrival, { byteLength: 8 });
  t.ok(events >= 1);
  t.equal(cq.counters.wakes, events);
  sender.device.close();
  t.equal(a.cq.poll(), 0);
});

void t.test('closing the queue pair rejects what waits', async (t) => {
  using pair = openPair();
  const { b } = pair;
  const waiting = [0, 1].map(() => failure(b.qp.operations.receive(b.mr.piece(0, 8))));
  b.qp.close();
  for (const error of await Promise.all(waiting)) t.equal(error.code, 'RDMA_ERR_CLOSED');
  t.equal((await failure(b.qp.operations.receive([]))).code, 'RDMA_ERR_CLOSED');
});

void t.test('bad arguments are refused before anything is posted', async (t) => {
  using pair = openPair();
  const { a } = pair;
  const { operations } = a.qp;
  const remote = { address: 0, rkey: 0 };
  const bad = 'RDMA_ERR_INVALID_ARGUMENT';
  const five = Array.from({ length: 5 }, () => a.mr.piece(0, 1));
  t.equal((await failure(operations.write(five, remote))).code, bad);
  t.equal((await failure(operations.write([{ address: 1.5, length: 1, lkey: 1 }], remote))).code, bad);
  t.equal((await failure(operations.send([], { imm: 1, invalidateRkey: 1 }))).code, bad);
  t.equal((await failure(operations.fetchAdd(remote, 1 as unknown as bigint))).code, bad);
  t.equal((await failure(operations.send([], { timeoutMs: 0 }))).code, bad);
  t.equal((await failure(operations.send([], { signal: {} as AbortSignal }))).code, bad);
  t.equal(operations.pending, 0);
  t.equal(a.qp.counters.sendsPosted, 0);
});

void t.test('takeOne still sees what is posted without a promise', async (t) => {
  using pair = openPair();
  const { a } = pair;
  a.qp.sends.send(0, 2 ** 53 - 1, SendFlags.SIGNALED, a.mr.address, 0, a.mr.lkey);
  a.qp.toError();
  a.qp.postSend(1);
  t.match(
    await takeOne(a.cq),
    { wrId: 2 ** 53 - 1, status: CompletionStatus.FLUSHED },
    'a wrId above 2^52 is no promise',
  );
});
