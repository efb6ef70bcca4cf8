// Invariant under test: strangers cost little, learn nothing, and never reach onPeer.

import { runInNewContext } from 'node:vm';
import t from 'tap';
import { BootstrapServer, connectBootstrap } from '../../src/ts/connect/index.js';
import { encodeHeader, encodePlainFrame, FrameType } from '../../src/ts/connect/frame.js';
import { SPOKEN_VERSIONS } from '../../src/ts/connect/handshake.js';
import { encodeHello } from '../../src/ts/connect/handshake-messages.js';
import { closing, liveHandles, rawClient, rawServer, SECRET, startServer, until } from './support.js';

const hello = encodePlainFrame(
  FrameType.HELLO,
  encodeHello({ versions: SPOKEN_VERSIONS, nonce: Buffer.alloc(32, 7), service: 'onepiece-rdma', name: 'x' }),
);

void t.test('a peer with the secret gets in, and both know each other', async (t) => {
  const { server, peers, rejections } = await startServer({ name: 'inbox' });
  t.equal(server.address.host, '127.0.0.1');
  const near = await connectBootstrap({ port: server.address.port, secret: Buffer.from(SECRET), name: 'outbox' });
  await until('the peer is there', () => peers.length === 1);
  t.equal(near.peerName, 'inbox');
  t.equal(peers[0]?.peerName, 'outbox');
  t.strictSame(near.remoteAddress, server.address);
  t.match(server.counters, { accepted: 1, rejected: 0 });
  const end = closing(near);
  t.equal(server.close(), server.close(), 'closing twice is one closing');
  await server.close();
  t.equal(await end, undefined, 'the server said goodbye');
  t.equal(server.peers, 0);
  t.strictSame(rejections, []);
});

void t.test('a wrong secret is refused at both ends, each knowing why and no more', async (t) => {
  const { server, peers, rejections } = await startServer();
  await t.rejects(connectBootstrap({ port: server.address.port, secret: 'not the right one' }), {
    code: 'RDMA_ERR_UNAUTHENTICATED',
  });
  await until('the server has rejected it', () => rejections.length === 1);
  t.match(rejections, [{ reason: 'unauthenticated', error: { code: 'RDMA_ERR_UNAUTHENTICATED' } }]);
  t.match(rejections[0]?.remoteAddress.host, /127\.0\.0\.1/);
  t.equal(server.counters.rejectedByReason.unauthenticated, 1);
  t.equal(peers.length, 0);
  await server.close();
});

void t.test('another service and a full server are refused', async (t) => {
  const { server, rejections } = await startServer({ service: 'one', maxPeers: 1 });
  const { port } = server.address;
  await t.rejects(connectBootstrap({ port, secret: SECRET, service: 'two' }), { code: 'RDMA_ERR_REFUSED' });
  const first = await connectBootstrap({ port, secret: SECRET, service: 'one' });
  await t.rejects(connectBootstrap({ port, secret: SECRET, service: 'one' }), { code: 'RDMA_ERR_BUSY' });
  first.close();
  await until('the first is gone', () => server.peers === 0);
  const second = await connectBootstrap({ port, secret: SECRET, service: 'one' });
  second.destroy();
  t.strictSame(
    rejections.map(({ reason }) => reason),
    ['service', 'busy'],
  );
  await server.close();
});

void t.test('garbage, oversize and other protocols are cut off without an answer', async (t) => {
  const { server, rejections } = await startServer();
  const cases = [
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    encodeHeader(FrameType.HELLO, 0xffffffff, false),
    encodeHeader(FrameType.HELLO, 1025, false),
    encodePlainFrame(FrameType.MESSAGE, Buffer.from('{}')),
    encodePlainFrame(FrameType.PROOF, Buffer.alloc(32)),
    encodePlainFrame(FrameType.HELLO, Buffer.alloc(5)),
  ];
  for (const bytes of cases) {
    const { socket, received, ended } = await rawClient(server.address.port);
    socket.write(bytes);
    await ended;
    t.equal(received().byteLength, 0);
  }
  await until('all are rejected', () => rejections.length === cases.length);
  t.ok(rejections.every(({ reason, error }) => reason === 'protocol' && error.code === 'RDMA_ERR_PROTOCOL'));
  const other = await rawClient(server.address.port);
  other.socket.write(Buffer.from(hello).fill(9, 5, 6));
  await other.ended;
  t.match(other.received().toString('latin1'), /version.*the server speaks bootstrap version 2/s);
  t.equal(server.counters.rejectedByReason.version, 1);
  await server.close();
});

void t.test('one who trickles its handshake is cut off in time', async (t) => {
  const { server, rejections } = await startServer({ handshakeTimeoutMs: 60 });
  const { socket, ended } = await rawClient(server.address.port);
  let sent = 0;
  const trickle = setInterval(() => {
    socket.write(hello.subarray(sent, sent + 1));
    sent = Math.min(sent + 1, hello.byteLength - 2);
  }, 10);
  await ended;
  clearInterval(trickle);
  await until('it is rejected', () => rejections.length === 1);
  t.match(rejections, [{ reason: 'timeout', error: { code: 'RDMA_ERR_TIMEOUT' } }]);
  const silent = await rawClient(server.address.port);
  await silent.ended;
  t.equal(server.counters.rejectedByReason.timeout, 2);
  await server.close();
});

void t.test('beyond maxPending, a newcomer takes the place of the idlest, and gets in', async (t) => {
  const { server, peers, rejections } = await startServer({ maxPending: 3 });
  const { port } = server.address;
  const gone: string[] = [];
  const stranger = async (name: string) => {
    const client = await rawClient(port);
    void client.ended.then(() => gone.push(name));
    return client;
  };
  const [first] = [await stranger('first'), await stranger('second'), await stranger('third')];
  await until('three are pending', () => server.pending === 3);
  first.socket.write(hello);
  await until('the first one was answered', () => first.received().byteLength > 0);
  const fourth = await stranger('fourth');
  await until('one has to go', () => gone.length === 1);
  const near = await connectBootstrap({ port, secret: SECRET });
  await until('who knows the secret is in', () => peers.length === 1 && gone.length === 2);
  t.same(gone, ['second', 'third'], 'the first one had got further, the fourth has just come');
  t.equal(server.counters.rejectedByReason.full, 2);
  t.match(rejections[0], { reason: 'full', error: { code: 'RDMA_ERR_BUSY' } });
  t.equal(server.pending, 2);
  near.close();
  await server.close();
  await Promise.all([first.ended, fourth.ended]);
  t.equal(server.counters.rejectedByReason.closed, 2, 'those in mid-handshake were cut off by closing');
  t.equal(server.pending, 0);
});

void t.test('what onPeer throws, or rejects with, ends that peer and not the server', async (t) => {
  const thrown = new Error('bug');
  let calls = 0;
  const { server, rejections } = await startServer({
    onPeer: () => {
      calls += 1;
      if (calls === 1) throw thrown;
      if (calls === 2) return Promise.reject(thrown) as unknown as undefined;
      if (calls === 3) return runInNewContext('Promise').reject(thrown); // of another realm
    },
  });
  for (let i = 0; i < 3; i += 1) {
    const near = await connectBootstrap({ port: server.address.port, secret: SECRET });
    t.equal((await closing(near))?.code, 'RDMA_ERR_PEER_GONE');
  }
  t.match(rejections, [{ reason: 'handler' }, { reason: 'handler' }, { reason: 'handler' }]);
  t.equal(rejections[0]?.error.cause, thrown);
  const near = await connectBootstrap({ port: server.address.port, secret: SECRET });
  near.close();
  t.equal(calls, 4);
  await server.close();
});

void t.test('a port that cannot be listened on is an error with a remedy', async (t) => {
  const { server } = await startServer();
  await t.rejects(startServer({ port: server.address.port }), {
    name: 'RdmaError',
    code: 'EADDRINUSE',
    errno: -98,
    syscall: 'listen',
    remedy: /another port/,
    message: /127\.0\.0\.1:\d+/,
  });
  await t.rejects(startServer({ host: '192.0.2.1' }), { code: 'EADDRNOTAVAIL', remedy: /address/ });
  await server.close();
});

void t.test('bad options are refused by name', async (t) => {
  const good = { secret: SECRET, onPeer: () => undefined };
  const bad: [object, RegExp][] = [
    [{ secret: 'short' }, /secret/],
    [{ port: 65536 }, /port/],
    [{ port: -1 }, /port/],
    [{ host: '' }, /host/],
    [{ service: 'a\nb' }, /service/],
    [{ service: 'ñ'.repeat(128) }, /service/],
    [{ onPeer: undefined }, /onPeer/],
    [{ onRejected: 5 }, /onRejected/],
    [{ handshakeTimeoutMs: 0 }, /handshakeTimeoutMs/],
    [{ maxPending: 0 }, /maxPending/],
    [{ maxPeers: 1.5 }, /maxPeers/],
  ];
  for (const [options, message] of bad) {
    const given = { ...good, ...options } as Parameters<typeof BootstrapServer.listen>[0];
    await t.rejects(BootstrapServer.listen(given), { code: 'RDMA_ERR_INVALID_ARGUMENT', message });
  }
});

void t.test('a server is disposed of, and leaves no handle behind', async (t) => {
  await until('earlier handles are gone', () => liveHandles() <= 1);
  const before = liveHandles();
  {
    await using server = (await startServer()).server;
    await connectBootstrap({ port: server.address.port, secret: SECRET });
    await rawClient(server.address.port);
    t.ok(liveHandles() > before);
  }
  await until('nothing is left', () => liveHandles() <= before);
  const closed = await rawServer(() => undefined);
  await closed.close();
});
