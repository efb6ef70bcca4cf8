// Proves that queue pairs of ours are connected, refused and disconnected through rdma_cm as librdmacm's manual says.
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { connect, listen } from '../../src/ts/rdmacm/index.js';
import { QpState, SendFlags } from '../../src/ts/verbs/index.js';
import { takeOne } from '../verbs/support.js';
import {
  connectedPair,
  deviceAddress,
  deviceName,
  failure,
  isSoft,
  nextRequest,
  openEnd,
  patienceMs,
  receiveInto,
  refusedOnSoft,
  textOf,
} from './support.js';

if (isSoft) void t.test('soft0 is refused, with a remedy', refusedOnSoft);
else void connections();

async function connections(): Promise<void> {
  const host = deviceAddress();
  const hello = Buffer.from('hello');

  await t.test('connects, carries private data both ways, and SEND, WRITE and READ work', async (t) => {
    await using pair = await connectedPair({ privateData: hello });
    const { active, passive, a, b } = pair;
    t.equal(active.deviceName, deviceName);
    t.equal(textOf(active.privateData), 'welcome');
    t.equal(textOf(passive.privateData), 'hello');
    t.equal(active.peerAddress?.port, pair.listener.address.port);
    t.equal(passive.peerAddress?.address, host);
    t.equal(active.queuePair.query().state, QpState.READY_TO_SEND);
    t.equal(active.queuePair.query().destQpNum, b.queuePair.qpNum);
    a.bytes.set(Buffer.from('over rdma_cm'));
    a.queuePair.sends.send(0, 1, SendFlags.SIGNALED, a.mr.address, 12, a.mr.lkey);
    a.queuePair.postSend(1);
    t.equal((await takeOne(a.cq)).status, 0);
    t.match(await takeOne(b.cq), { status: 0, wrId: 7, byteLength: 12 });
    t.equal(textOf(b.bytes.subarray(0, 64)), 'over rdma_cm');
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      to.bytes[2048] = 42;
      from.queuePair.sends.write(0, 2, 2, to.mr.address + 1024, to.mr.rkey, from.mr.address, 12, from.mr.lkey);
      from.queuePair.sends.read(1, 3, 2, to.mr.address + 2048, to.mr.rkey, from.mr.address + 3000, 1, from.mr.lkey);
      from.queuePair.postSend(2);
      t.match(await takeOne(from.cq), { status: 0, wrId: 2 });
      t.match(await takeOne(from.cq), { status: 0, wrId: 3 });
      t.equal(from.bytes[3000], 42);
    }
    t.match(textOf(b.bytes.subarray(1024, 1036)), 'over rdma_cm');
  });

  await t.test('disconnect() ends both sides, flushes receives, and is idempotent', async (t) => {
    await using pair = await connectedPair();
    const { active, passive, b } = pair;
    const told = once(passive, 'disconnected');
    await active.disconnect({ timeoutMs: patienceMs });
    await active.disconnect();
    t.equal(await active.closed, 'local');
    t.equal(await passive.closed, 'peer');
    t.same(await told, ['peer']);
    t.match(await takeOne(b.cq), { status: 5, wrId: 7 }, 'the receive that was posted is flushed');
    await passive.disconnect();
    active.close();
    active.close();
    t.ok(active.queuePair.closed);
  });

  await t.test('closing in any order, in the middle, ends the other side', async (t) => {
    for (const order of ['device', 'queue pair', 'connection', 'listener']) {
      await using pair = await connectedPair();
      const { active, passive, a, listener } = pair;
      if (order === 'device') a.device.close();
      if (order === 'queue pair') active.queuePair.close();
      if (order === 'listener') listener.close();
      if (order === 'listener') await sleep(50);
      t.equal(passive.ended, false, `${order}: not yet`);
      active.close();
      t.equal(await passive.closed, 'peer', order);
      t.equal(await active.closed, 'local');
    }
  });

  await t.test('a rejection carries reason and private data', async (t) => {
    using listener = await listen({ host }, (request) => request.reject(Buffer.from('not today')));
    const end = openEnd();
    const { port } = listener.address;
    const error = await failure(connect({ host, port, createQueuePair: () => end.queuePair, timeoutMs: patienceMs }));
    t.match(error, { code: 'RDMA_ERR_REJECTED', reason: 28 });
    t.equal(textOf(error.privateData), 'not today');
    t.ok(end.queuePair.closed, 'the queue pair is closed');
    end.device.close();
  });

  await t.test('nobody listens: rejected with that reason', async (t) => {
    const end = openEnd();
    const error = await failure(
      connect({ host, port: 9, createQueuePair: () => end.queuePair, timeoutMs: patienceMs }),
    );
    t.match(error, { code: 'RDMA_ERR_REJECTED', reason: 8 });
    t.match(String(error), /nothing listens/);
    end.device.close();
  });

  await t.test('an address without a device, and one that nobody has, are told apart', async (t) => {
    const end = openEnd();
    const { queuePair } = end;
    const nowhere = await failure(
      connect({ host: '192.0.2.1', port: 1, createQueuePair: () => queuePair, timeoutMs: 3000 }),
    );
    t.match(nowhere.code, /^(RDMA_ERR_NO_DEVICE|ENETUNREACH|EHOSTUNREACH)$/);
    const start = performance.now();
    const neighbour = host.replace(/\.\d+$/, '.77');
    const silent = await failure(
      connect({ host: neighbour, port: 1, createQueuePair: () => queuePair, timeoutMs: 2000 }),
    );
    t.match(silent.code, /^(RDMA_ERR_TIMEOUT|ETIMEDOUT|EHOSTUNREACH)$/);
    t.ok(performance.now() - start < 2000 + patienceMs / 4, 'in time');
    t.match((await failure(listen({ host: '192.0.2.1' }))).code, /^(EADDRNOTAVAIL|RDMA_ERR_NO_DEVICE)$/);
    t.ok(queuePair.closed, 'it is closed as soon as connecting has failed');
    end.device.close();
  });

  await t.test('deadline and signal end connecting to a listener that does not answer', async (t) => {
    const listener = await listen({ host });
    const { port } = listener.address;
    const late = openEnd();
    const error = await failure(connect({ host, port, createQueuePair: () => late.queuePair, timeoutMs: 700 }));
    t.equal(error.code, 'RDMA_ERR_TIMEOUT');
    t.ok(late.queuePair.closed);
    const request = await nextRequest(listener);
    const end = openEnd();
    const answer = await failure(request.accept({ queuePair: end.queuePair, timeoutMs: 2000 }));
    t.not(answer.code, 'none', 'who has gone cannot be accepted');
    t.ok(end.queuePair.closed);
    const abort = new AbortController();
    const aborted = openEnd();
    const promise = connect({ host, port, createQueuePair: () => aborted.queuePair, signal: abort.signal });
    await nextRequest(listener);
    abort.abort();
    t.equal((await failure(promise)).code, 'RDMA_ERR_ABORTED');
    t.equal(
      (await failure(connect({ host, port, createQueuePair: () => late.queuePair, signal: abort.signal }))).code,
      'RDMA_ERR_ABORTED',
    );
    listener.close();
    for (const { device } of [late, end, aborted]) device.close();
  });

  await t.test('a listener that closes rejects the requests that wait, and ends the loop over it', async (t) => {
    const listener = await listen({ host });
    const { port } = listener.address;
    const end = openEnd();
    const promise = failure(connect({ host, port, createQueuePair: () => end.queuePair, timeoutMs: patienceMs }));
    // Whether the request has been taken or still lies in the kernel, the peer learns of it.
    await sleep(300);
    listener.close();
    listener.close();
    t.equal((await promise).code, 'RDMA_ERR_REJECTED');
    t.same(await listener.next(), { done: true, value: undefined });
    let seen = 0;
    for await (const _ of listener) seen++;
    t.equal(seen, 0);
    end.device.close();
  });

  await t.test('more requests than the backlog are rejected, the others wait', async (t) => {
    using listener = await listen({ host, backlog: 1 });
    const { port } = listener.address;
    const ends = [openEnd(), openEnd(), openEnd()];
    const codes = ends.map(({ queuePair }) =>
      failure(connect({ host, port, createQueuePair: () => queuePair, timeoutMs: 2500 })).then(({ code }) => code),
    );
    const all = await Promise.all(codes);
    t.equal(all.filter((code) => code === 'RDMA_ERR_TIMEOUT').length, 1, all.join());
    t.equal(all.filter((code) => code === 'RDMA_ERR_REJECTED').length, 2, all.join());
    for (const { device } of ends) device.close();
  });

  await t.test('a request is answered once, and a wrong answer leaves it open', async (t) => {
    using listener = await listen({ host });
    const a = openEnd();
    const b = openEnd();
    using foreign = openEnd('soft0').device;
    const pd = foreign.allocateProtectionDomain();
    const soft = pd.createQueuePair({ sendCq: foreign.createCompletionQueue(4) });
    const { port } = listener.address;
    const promise = connect({ host, port, createQueuePair: () => a.queuePair, timeoutMs: patienceMs });
    const request = await nextRequest(listener);
    t.match((await failure(request.accept({ queuePair: soft }))).code, 'RDMA_ERR_INVALID_ARGUMENT');
    t.throws(() => request.reject(new Uint8Array(149)), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
    const passive = await request.accept({
      queuePair: b.queuePair,
      postReceives: receiveInto(b),
      timeoutMs: patienceMs,
    });
    const active = await promise;
    t.throws(() => request.reject(), { code: 'RDMA_ERR_CLOSED' });
    t.match((await failure(request.accept({ queuePair: b.queuePair }))).code, 'RDMA_ERR_CLOSED');
    active.close();
    passive.close();
    a.device.close();
    b.device.close();
  });

  await t.test('a port is taken once, unless it is reused; IPv6 and every address work', async (t) => {
    using first = await listen({ host, reuseAddress: true });
    const { port } = first.address;
    t.equal((await failure(listen({ host, port }))).code, 'EADDRINUSE');
    using every = await listen();
    t.equal(every.address.address, '::');
    const a = openEnd();
    const b = openEnd();
    const [active, passive] = await Promise.all([
      connect({
        host,
        port: every.address.port,
        createQueuePair: () => a.queuePair,
        timeoutMs: patienceMs,
        typeOfService: 32,
      }),
      nextRequest(every).then((request) => request.accept({ queuePair: b.queuePair, timeoutMs: patienceMs })),
    ]);
    t.equal(active.queuePair.query().trafficClass, 32);
    active.close();
    passive.close();
    a.device.close();
    b.device.close();
  });

  await t.test('what createQueuePair throws, or answers wrongly, ends connecting', async (t) => {
    using listener = await listen({ host });
    const { port } = listener.address;
    const thrown = new Error('no queue pair today');
    t.equal(await failure(connect({ host, port, createQueuePair: () => Promise.reject(thrown) })), thrown);
    const wrong = connect({ host, port, createQueuePair: () => ({ close() {} }) as never });
    t.equal((await failure(wrong)).code, 'RDMA_ERR_INVALID_ARGUMENT');
  });
}
