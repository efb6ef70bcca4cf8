// Proves what needs no device: addresses, limits, reasons and rping's bytes.
import t from 'tap';
import { ConnectionRejectedError, eventError, rejectReasonWords } from '../../src/ts/rdmacm/cm-errors.js';
import { type CmEventName, cmEventWords } from '../../src/ts/rdmacm/cm-events.js';
import { callError, openError } from '../../src/ts/rdmacm/cm-errors.js';
import { connect, isRdmaError, listen } from '../../src/ts/rdmacm/index.js';
import { checkPrivateData, encodeParameters, PortSpace, PrivateDataBytes } from '../../src/ts/rdmacm/parameters.js';
import {
  checkAdvertisement,
  fillPing,
  pingText,
  readMessage,
  writeMessage,
} from '../../src/ts/interop/rping/message.js';
import { decodeAddress, encodeAddress, formatAddress, resolveHost } from '../../src/ts/rdmacm/socket-address.js';
import { codeOf } from '../verbs/support.js';
import { failure } from './support.js';

const event = (name: CmEventName, status: number) => ({
  name,
  status,
  privateData: Buffer.from('why'),
  parameters: undefined,
  datagram: undefined,
});

void t.test('addresses go down and come back', async (t) => {
  for (const address of [
    '10.99.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'fe80::1%7',
    '2001:db8::5:0:1',
    '1:2:3:4:5:6:7:8',
  ]) {
    const bytes = encodeAddress('address', { address, port: 7174 });
    t.equal(bytes.length, 24);
    t.same(decodeAddress(bytes), { address, port: 7174 });
  }
  t.same([...encodeAddress('a', { address: '::ffff:10.0.0.1', port: 1 }).subarray(18)], [255, 255, 10, 0, 0, 1]);
  t.same(
    [...encodeAddress('a', { address: '1::2', port: 0x1234 }).subarray(0, 10)],
    [6, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 1],
  );
  t.equal(decodeAddress(new Uint8Array(24)), undefined);
  t.equal(formatAddress({ address: '::1', port: 5 }), '[::1]:5');
});

void t.test('what is no address is refused', async (t) => {
  for (const address of ['', 'localhost', '10.0.0', '10.0.0.1%eth0', '::1%no-such-interface', 5, null, undefined]) {
    t.equal(
      codeOf(() => encodeAddress('a', { address: address as string, port: 1 })),
      'RDMA_ERR_INVALID_ARGUMENT',
    );
  }
  for (const port of [-1, 65536, 1.5, '1', undefined]) {
    t.equal(
      codeOf(() => encodeAddress('a', { address: '::', port: port as number })),
      'RDMA_ERR_INVALID_ARGUMENT',
    );
  }
  t.same(await resolveHost('10.1.2.3', 4), { address: '10.1.2.3', port: 4 });
  t.match((await failure(resolveHost('no-such-host.invalid', 4))).code, /^(ENOTFOUND|EAI_AGAIN|EAI_FAIL)$/);
});

void t.test('private data and parameters stay within their messages', async (t) => {
  const { TCP, UDP } = PortSpace;
  t.same(PrivateDataBytes, {
    [TCP]: { connect: 56, accept: 196, reject: 148 },
    [UDP]: { connect: 180, accept: 136, reject: 136 },
  });
  t.equal(checkPrivateData(new ArrayBuffer(56), 56).length, 56);
  t.equal(checkPrivateData(undefined, 56).length, 0);
  t.throws(() => checkPrivateData(new Uint8Array(57), 56), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.throws(() => checkPrivateData('text' as never, 56), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.same([...encodeParameters({}, 0x11)], [1, 1, 0, 7, 7, 0, 0x11]);
  t.same(
    [...encodeParameters({ srq: true, flowControl: true, retryCount: 0, initiatorDepth: 255 }, 2)],
    [1, 255, 1, 0, 7, 1, 2],
  );
  for (const wrong of [{ retryCount: 8 }, { rnrRetryCount: -1 }, { responderResources: 256 }, { srq: 1 }]) {
    t.equal(
      codeOf(() => encodeParameters(wrong as never, 0)),
      'RDMA_ERR_INVALID_ARGUMENT',
      JSON.stringify(wrong),
    );
  }
});

void t.test('connect and listen check everything before they do anything', async (t) => {
  const createQueuePair = () => t.fail('not reached') as never;
  const right = { host: '127.0.0.1', port: 1, createQueuePair };
  for (const wrong of [
    { host: '' },
    { host: 5 },
    { port: 0 },
    { port: 65536 },
    { createQueuePair: undefined },
    { postReceives: 1 },
    { privateData: new Uint8Array(57) },
    { timeoutMs: 0 },
    { signal: {} },
    { localAddress: 'eth0' },
    { retryCount: 9 },
  ]) {
    const { code } = await failure(connect({ ...right, ...wrong } as never));
    t.equal(code, 'RDMA_ERR_INVALID_ARGUMENT', Object.keys(wrong)[0] ?? '');
  }
  for (const wrong of [{ host: '' }, { port: -1 }, { backlog: 0 }, { reuseAddress: 1 }, { ipv6Only: 'no' }, 7]) {
    t.equal((await failure(listen(wrong as never))).code, 'RDMA_ERR_INVALID_ARGUMENT');
  }
  t.equal((await failure(listen({}, 1 as never))).code, 'RDMA_ERR_INVALID_ARGUMENT');
  t.equal((await failure(connect({ ...right, signal: AbortSignal.abort() }))).code, 'RDMA_ERR_ABORTED');
});

void t.test('every failing event is an error with a call and a remedy', async (t) => {
  const rejected = eventError(event('REJECTED', 8), '10.0.0.1:5');
  t.ok(rejected instanceof ConnectionRejectedError && isRdmaError(rejected));
  t.match(rejected, { code: 'RDMA_ERR_REJECTED', reason: 8, syscall: 'rdma_connect' });
  t.match(rejected.message, /10\.0\.0\.1:5 .*nothing listens.*start the server/);
  t.equal(rejectReasonWords(28), 'the program at the other end said no');
  t.equal(rejectReasonWords(77), 'reason 77');
  t.match(eventError(event('UNREACHABLE', -110), 'x'), { code: 'ETIMEDOUT', errno: -110, syscall: 'rdma_connect' });
  t.match(eventError(event('ADDR_ERROR', -19), 'x'), { code: 'RDMA_ERR_NO_DEVICE', errno: -19 });
  t.match(eventError(event('ADDR_ERROR', 0), 'x'), { code: 'ETIMEDOUT', syscall: 'rdma_resolve_addr' });
  t.match(eventError(event('ROUTE_ERROR', -22), 'x').remedy, /subnet manager/);
  t.match(eventError(event('DISCONNECTED', 0), 'x'), { code: 'RDMA_ERR_PEER_GONE' });
  t.match(eventError(event('DEVICE_REMOVAL', 0), 'x'), { code: 'RDMA_ERR_NO_DEVICE' });
  t.match(callError(-98, 'rdma_bind_addr', '1.2.3.4:5'), { code: 'EADDRINUSE', syscall: 'rdma_bind_addr' });
  t.match(openError({ errno: -95, why: 'apt-get install librdmacm1' }), { code: 'RDMA_ERR_NOT_SUPPORTED' });
  t.match(openError({ errno: -2, why: 'modprobe rdma_ucm' }).message, /RDMA_ERR_NO_DEVICE.*modprobe rdma_ucm/);
  t.match(openError({ errno: -13, why: 'udev rules' }), { code: 'EACCES', remedy: 'udev rules' });
  t.match(cmEventWords('TIMEWAIT_EXIT'), /may be used again/);
});

void t.test("rping's message and text are those of rping.c", async (t) => {
  const view = new DataView(new ArrayBuffer(16));
  writeMessage(view, { address: 0x1122334455667, rkey: 0xaabbccdd, size: 100 });
  t.equal(Buffer.from(view.buffer).toString('hex'), '0001122334455667aabbccdd00000064');
  t.same(readMessage(view, 16), { address: 0x1122334455667, rkey: 0xaabbccdd, size: 100 });
  t.throws(() => readMessage(view, 15), { code: 'RDMA_ERR_PROTOCOL' });
  for (const size of [0, 65537]) {
    t.throws(() => checkAdvertisement({ address: 1, rkey: 1, size }), { code: 'RDMA_ERR_PROTOCOL' });
  }
  const bytes = new Uint8Array(64);
  fillPing(bytes, 0);
  t.equal(pingText(bytes), 'rdma-ping-0: ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqr');
  t.equal(bytes[63], 0);
  fillPing(bytes, 59);
  t.equal(pingText(bytes).slice(0, 16), 'rdma-ping-59: BC', 'the first character starts over after z');
});
