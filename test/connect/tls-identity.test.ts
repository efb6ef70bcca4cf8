// Proves that with TLS only nodes of the cluster get in by TCP, that each side says clearly what is wrong, and that
// strangers cost no more than without it.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import t from 'tap';
import { certifyNode, initCluster } from '../../src/ts/cluster/index.js';
import { connectBootstrap, TLS_FILES, TlsIdentity, type TlsMaterial } from '../../src/ts/connect/index.js';
import { liveHandles, rawServer, SECRET, startServer, until } from './support.js';

// A server that listens on all addresses has its local socket at 127.0.0.1: who comes by another one comes by TCP.
const EVERYWHERE = '0.0.0.0';
const host = '127.0.0.3';

const directory = mkdtempSync(join(tmpdir(), 'onepiece-tls-'));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));

async function makeCluster(name: string, ...nodes: string[]): Promise<TlsIdentity[]> {
  const folder = join(directory, name);
  await initCluster(folder);
  const identities: TlsIdentity[] = [];
  for (const node of nodes) identities.push(TlsIdentity.read(await certifyNode(folder, node)));
  return identities;
}

const material = (folder: string): TlsMaterial => ({
  ca: readFileSync(join(folder, TLS_FILES.ca), 'utf8'),
  certificate: readFileSync(join(folder, TLS_FILES.certificate), 'utf8'),
  key: readFileSync(join(folder, TLS_FILES.key), 'utf8'),
});

const ours = makeCluster('ours', 'a', 'b');
const theirs = makeCluster('theirs', 'a');

async function tlsServer(options: Parameters<typeof startServer>[0] = {}) {
  const [identity] = (await ours) as [TlsIdentity];
  const started = await startServer({ host: EVERYWHERE, tls: identity, ...options });
  return { ...started, port: started.server.address.port };
}

void t.test('nodes of one cluster reach each other, and what they say is encrypted', async (t) => {
  const { server, peers, port } = await tlsServer();
  // Somebody between them who listens.
  const heard: Buffer[] = [];
  const middle = await rawServer((socket) => {
    const onward = net.connect(port, host);
    onward.on('error', () => undefined);
    socket.on('close', () => onward.destroy());
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      from.on('data', (chunk) => {
        heard.push(chunk);
        to.write(chunk);
      });
    }
  });
  const [, b] = (await ours) as [TlsIdentity, TlsIdentity];
  const near = await connectBootstrap({ host: '127.0.0.1', port: middle.port, secret: SECRET, tls: b, name: 'near' });
  await until('the server has a peer', () => peers.length === 1);
  t.equal(peers[0]?.peerName, 'near');
  const received = peers[0]!.receive();
  near.send({ words: 'nobody else reads this' });
  t.same(await received, { words: 'nobody else reads this' });
  t.notMatch(Buffer.concat(heard).toString('latin1'), /nobody else|onepiece|near/);
  near.close();
  await server.close();
  await middle.close();
});

void t.test('processes of one user and host need no TLS', async (t) => {
  const { server, peers, port } = await tlsServer();
  const near = await connectBootstrap({ port, secret: SECRET, name: 'near' });
  await until('the server has a peer', () => peers.length === 1);
  near.close();
  await server.close();
  t.equal(server.counters.accepted, 1);
});

void t.test('the secret is still asked for', async (t) => {
  const { server, port } = await tlsServer();
  const [, b] = (await ours) as [TlsIdentity, TlsIdentity];
  const wrong = connectBootstrap({ host, port, secret: 'another secret', tls: b });
  await t.rejects(wrong, { code: 'RDMA_ERR_UNAUTHENTICATED', message: /secret/ });
  await server.close();
});

void t.test('a client of another cluster, or without a certificate, learns so and stays out', async (t) => {
  const { server, peers, rejections, port } = await tlsServer();
  const [stranger] = (await theirs) as [TlsIdentity];
  await t.rejects(connectBootstrap({ host, port, secret: SECRET, tls: stranger }), {
    code: 'RDMA_ERR_UNAUTHENTICATED',
    message: /does not belong to this cluster/,
    remedy: /onepiece cluster init/,
  });
  // It believes the server, but has the wrong certificate, or none.
  const { ca } = material(join(directory, 'ours/nodes/a'));
  const { certificate, key } = material(join(directory, 'theirs/nodes/a'));
  const own = { ca, checkServerIdentity: () => undefined };
  for (const more of [{ cert: certificate, key }, {}]) {
    const socket = tls.connect({ host, port, ...own, ...more });
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('close', resolve));
  }
  await until('all were refused', () => rejections.length === 3);
  // The first one has left by itself: it does not believe this server.
  t.match(rejections[0]?.reason, /^(disconnected|tls)$/);
  t.same(
    rejections.slice(1).map(({ reason }) => reason),
    ['tls', 'tls'],
  );
  t.match(rejections[1]?.error, { code: 'RDMA_ERR_UNAUTHENTICATED', message: /not of this cluster/ });
  t.match(rejections[2]?.error, { code: 'RDMA_ERR_UNAUTHENTICATED', message: /no certificate/ });
  t.equal(peers.length, 0);
  await server.close();
});

void t.test('TLS against none, both ways', async (t) => {
  const { server, rejections, port } = await tlsServer();
  await t.rejects(connectBootstrap({ host, port, secret: SECRET }), {
    code: 'RDMA_ERR_HANDSHAKE',
    remedy: /TLS on both sides or none/,
  });
  await until('the plain client was refused', () => rejections.length === 1);
  t.match(rejections[0], { reason: 'tls', error: { code: 'RDMA_ERR_HANDSHAKE' } });
  await server.close();

  const plain = await startServer({ host: EVERYWHERE });
  const [, b] = (await ours) as [TlsIdentity, TlsIdentity];
  const attempt = connectBootstrap({ host, port: plain.server.address.port, secret: SECRET, tls: b });
  await t.rejects(attempt, { code: 'RDMA_ERR_HANDSHAKE' });
  await plain.server.close();
});

void t.test('old versions of TLS, garbage, half of a handshake and silence are ended, and leave nothing', async (t) => {
  const before = liveHandles();
  const { server, peers, rejections, port } = await tlsServer({ handshakeTimeoutMs: 1500, maxPending: 8 });
  const old = tls.connect({ host, port, maxVersion: 'TLSv1.2', rejectUnauthorized: false });
  const [code] = await new Promise<[string]>((resolve) => {
    old.once('error', (error: NodeJS.ErrnoException) => resolve([error.code ?? '']));
  });
  t.match(code, /PROTOCOL_VERSION|ECONNRESET/);
  // The first bytes of a TLS record that never ends; what no TLS begins with; and nothing at all.
  const openings = [
    Buffer.from([0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3]),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    '',
  ];
  const sockets = openings.map((bytes) => {
    const socket = net.connect(port, host);
    socket.on('error', () => undefined);
    socket.on('data', () => undefined);
    if (bytes.length > 0) socket.write(bytes);
    return socket;
  });
  // Meanwhile a node of the cluster gets in.
  const [, b] = (await ours) as [TlsIdentity, TlsIdentity];
  const near = await connectBootstrap({ host, port, secret: SECRET, tls: b });
  await until('all four were refused', () => rejections.length === 4);
  t.same(rejections.map(({ reason }) => reason).sort(), ['timeout', 'timeout', 'tls', 'tls']);
  t.equal(peers.length, 1);
  await until('their sockets are gone', () => sockets.every(({ closed }) => closed));
  near.close();
  await server.close();
  await until('nothing is left', () => liveHandles() <= before);
});

void t.test('strangers that say nothing give way to a node of the cluster', async (t) => {
  const { server, port } = await tlsServer({ maxPending: 4 });
  const sockets = Array.from({ length: 40 }, () => {
    const socket = net.connect(port, host);
    socket.on('error', () => undefined);
    socket.on('data', () => undefined);
    return socket;
  });
  await until('the first gave way', () => server.counters.rejectedByReason.full >= 36);
  const [, b] = (await ours) as [TlsIdentity, TlsIdentity];
  const near = await connectBootstrap({ host, port, secret: SECRET, tls: b });
  t.equal(server.peers, 1);
  near.close();
  for (const socket of sockets) socket.destroy();
  await server.close();
});

void t.test('what does not belong together is refused before it is used', async (t) => {
  await Promise.all([ours, theirs]);
  const a = material(join(directory, 'ours/nodes/a'));
  const other = material(join(directory, 'theirs/nodes/a'));
  const wrong = { code: 'RDMA_ERR_INVALID_ARGUMENT' };
  t.throws(() => new TlsIdentity({ ...a, ca: other.ca }), { ...wrong, message: /authority/ });
  t.throws(() => new TlsIdentity({ ...a, key: other.key }), { ...wrong, message: /key/ });
  t.throws(() => new TlsIdentity({ ...a, key: 'no key' }), wrong);
  t.throws(() => new TlsIdentity({ ...a, certificate: 'no certificate' }), wrong);
  t.throws(() => new TlsIdentity({ ...a, certificate: a.ca }), wrong);
  t.throws(() => TlsIdentity.read(join(directory, 'nowhere')), { ...wrong, message: /ca\.pem cannot be read/ });
  await t.rejects(connectBootstrap({ port: 1, secret: SECRET, tls: a as unknown as TlsIdentity }), wrong);
});
