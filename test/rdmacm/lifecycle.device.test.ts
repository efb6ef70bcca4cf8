// Proves that whoever ends in the middle, a peer's process, a worker, or this process, leaves the others working.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { CmEventChannel, connect, PortSpace } from '../../src/ts/rdmacm/index.js';
import { ended, message, until } from '../verbs/support.js';
import {
  connectedPair,
  deviceAddress,
  failure,
  isSoft,
  openEnd,
  patienceMs,
  refusedOnSoft,
  startHelper,
} from './support.js';

if (isSoft) void t.test('soft0 is refused, with a remedy', refusedOnSoft);
else void lifecycles();

const descriptors = () => readdirSync('/proc/self/fd').length;

async function lifecycles(): Promise<void> {
  const host = deviceAddress();

  await t.test("a peer's process is killed: the connection ends by the peer", async (t) => {
    const child = startHelper('peer');
    const port = await message<number>(child);
    const end = openEnd();
    const accepted = message<string>(child);
    const connection = await connect({ host, port, createQueuePair: () => end.queuePair, timeoutMs: patienceMs });
    t.equal(await accepted, 'accepted');
    child.kill('SIGKILL');
    t.equal((await ended(child)).how, 'SIGKILL');
    t.equal(await connection.closed, 'peer');
    connection.close();
    end.device.close();
    const gone = openEnd();
    const error = await failure(connect({ host, port, createQueuePair: () => gone.queuePair, timeoutMs: patienceMs }));
    t.match(error, { code: 'RDMA_ERR_REJECTED', reason: 8 }, 'its port is free');
    gone.device.close();
  });

  await t.test('workers are terminated at every step, and the main thread works on', async (t) => {
    for (const step of ['listening', 'requested', 'connected', 'busy']) {
      const worker = new Worker(path.join(__dirname, 'worker.js'), { workerData: { step } });
      await once(worker, 'message', { signal: AbortSignal.timeout(patienceMs) });
      await worker.terminate();
      await using pair = await connectedPair();
      t.equal(pair.active.ended, false, step);
    }
  });

  await t.test('rounds of connections leave no descriptor behind', async (t) => {
    const round = async () => {
      await using pair = await connectedPair();
      await pair.active.disconnect();
      await pair.passive.closed;
    };
    await round();
    const before = descriptors();
    for (let i = 0; i < 20; i++) await round();
    await until(`${descriptors()} descriptors are ${before} again`, () => descriptors() <= before);
    t.pass('no descriptor is left');
  });

  await t.test('a channel closes its ids first, twice, and calls on closed ids are refused', async (t) => {
    const channel = CmEventChannel.open();
    const id = channel.createId();
    const waiting = failure(id.waitFor(['ADDR_RESOLVED']));
    t.equal((await failure(id.waitFor(['ADDR_RESOLVED']))).code, 'RDMA_ERR_BUSY');
    channel.close();
    channel.close();
    t.ok(id.closed);
    t.equal((await waiting).code, 'RDMA_ERR_CLOSED');
    t.throws(() => id.listen(), { code: 'RDMA_ERR_CLOSED' });
    t.throws(() => channel.createId(), { code: 'RDMA_ERR_CLOSED' });
  });

  await t.test('calls in the wrong state are refused and do no harm', async (t) => {
    using channel = CmEventChannel.open();
    const id = channel.createId();
    const end = openEnd();
    for (const call of [
      () => id.resolveRoute(),
      () => id.connect(5),
      () => id.accept(5),
      () => id.establish(),
      () => id.reject(),
      () => id.disconnect(),
      () => id.notify(),
    ]) {
      t.throws(call, { code: 'EINVAL' }, String(call));
    }
    t.throws(() => id.prepare(end.queuePair, 1), { code: 'RDMA_ERR_INVALID_ARGUMENT' }, 'not bound');
    t.equal(id.deviceName, '');
    id.bind({ address: host, port: 0 });
    t.equal(id.deviceName, end.device.name);
    t.throws(() => id.prepare(end.queuePair, 3), { code: /EINVAL|ENOTCONN/ }, 'not connected');
    end.device.close();
  });

  await t.test('datagrams: the UDP port space finds queue pair number and key', async (t) => {
    using channel = CmEventChannel.open();
    const server = channel.createId(PortSpace.UDP);
    server.bind({ address: host, port: 0 });
    server.listen();
    const client = channel.createId(PortSpace.UDP);
    client.resolveAddress(server.localAddress!);
    await client.waitFor(['ADDR_RESOLVED'], { timeoutMs: patienceMs });
    client.resolveRoute();
    await client.waitFor(['ROUTE_RESOLVED'], { timeoutMs: patienceMs });
    client.connect(0, { privateData: Buffer.from('who is there') });
    const { request, privateData } = await server.waitFor(['CONNECT_REQUEST'], { timeoutMs: patienceMs });
    t.match(Buffer.from(privateData).toString(), /^who is there/);
    request!.accept(0x1234, { privateData: Buffer.from('me') });
    const { datagram, privateData: answer } = await client.waitFor(['ESTABLISHED'], { timeoutMs: patienceMs });
    t.match(datagram, { qpNum: 0x1234, qkey: 0x01234567, path: { isGlobal: 1, port: 1 } });
    t.match(datagram?.gid, /^00000000000000000000ffff/);
    t.match(Buffer.from(answer).toString(), /^me/);
    const second = channel.createId(PortSpace.UDP);
    second.resolveAddress(server.localAddress!);
    await second.waitFor(['ADDR_RESOLVED'], { timeoutMs: patienceMs });
    second.resolveRoute();
    await second.waitFor(['ROUTE_RESOLVED'], { timeoutMs: patienceMs });
    second.connect(0);
    const refused = await server.waitFor(['CONNECT_REQUEST'], { timeoutMs: patienceMs });
    refused.request!.reject();
    t.match((await failure(second.waitFor(['ESTABLISHED'], { timeoutMs: patienceMs }))).code, /./);
  });
}
