// Proves: processes of the same user and host come by the local socket; everybody else, and whatever is wrong with it,
// comes by TCP; nobody of another user gets as far as the handshake on it.
import { spawn } from 'node:child_process';
import net from 'node:net';
import t from 'tap';
import { isSameUser, localName } from '../../src/ts/connect/local-socket.js';
import { connectBootstrap } from '../../src/ts/connect/index.js';
import { connectedPair, SECRET, startServer, until } from './support.js';

const NOBODY = 65534;

/** Listens at a name as `uid`, says when it does, and exits when its input ends. */
const SQUATTER = `
  const net = require('node:net');
  const server = net.createServer((socket) => { socket.on('error', () => {}); socket.on('data', (d) => console.log('heard', d.length)); });
  server.listen({ path: process.argv[1].replace('@', String.fromCharCode(0)) }, () => console.log('up'));
  process.stdin.on('end', () => process.exit(0)).resume();`;
/** Connects to a name as `uid`, and says how that ends. */
const VISITOR = `
  const net = require('node:net');
  let got = 0;
  const socket = net.connect({ path: process.argv[1].replace('@', String.fromCharCode(0)) }, () => socket.write('OPRB'));
  socket.on('data', (d) => { got += d.length; });
  socket.on('error', () => {}).on('close', () => { console.log('closed', got); process.exit(0); });`;

function run(code: string, name: string, uid?: number) {
  const options = uid === undefined ? {} : { uid, gid: uid };
  const child = spawn(process.execPath, ['-e', code, name.replace('\0', '@')], { ...options, cwd: '/' });
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    said: () => said,
    end: () => {
      child.stdin.end();
      return ended;
    },
  };
}

void t.test('the name is that of an address and a port', async (t) => {
  t.equal(localName({ host: '127.0.0.1', port: 7 }), '\0onepiece-rdma/127.0.0.1:7');
  t.equal(localName({ host: '0.0.0.0', port: 7 }), localName({ host: 'localhost', port: 7 }));
  t.not(localName({ host: '127.0.0.2', port: 7 }), localName({ host: '127.0.0.1', port: 7 }));
  t.equal(localName({ host: '::1', port: 7 }), '\0onepiece-rdma/::1:7');
  t.equal(localName({ host: 'an.example', port: 7 }), undefined);
});

void t.test('same user, same host: by the local socket', async (t) => {
  const { server, near, far } = await connectedPair();
  t.ok(server.hasLocalSocket);
  t.strictSame(near.remoteAddress, server.address);
  t.strictSame(far.remoteAddress, { host: '127.0.0.1', port: 0 }, 'there is no port');
  near.send({ hello: 1 });
  t.same(await far.receive(), { hello: 1 });
  near.close();
  await server.close();
  const again = await startServer({ port: server.address.port });
  t.ok(again.server.hasLocalSocket, 'the name is free again at once');
  await again.server.close();
});

void t.test('by another address of the host: by TCP', async (t) => {
  const { server, peers } = await startServer({ host: '0.0.0.0' });
  const near = await connectBootstrap({ host: '127.0.0.3', port: server.address.port, secret: SECRET });
  await until('it is in', () => peers.length === 1);
  t.not(peers[0]?.remoteAddress.port, 0);
  const local = await connectBootstrap({ port: server.address.port, secret: SECRET });
  await until('the other one too', () => peers.length === 2);
  t.equal(peers[1]?.remoteAddress.port, 0);
  near.close();
  local.close();
  await server.close();
});

void t.test('a name that is taken: both sides use TCP, without an error', async (t) => {
  const probe = await startServer();
  const { port } = probe.server.address;
  await probe.server.close();
  const taken = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => taken.listen({ path: localName({ host: '127.0.0.1', port })! }, resolve));
  const { server, peers } = await startServer({ port });
  t.notOk(server.hasLocalSocket);
  await new Promise<void>((resolve) => taken.close(() => resolve()));
  const near = await connectBootstrap({ port, secret: SECRET });
  await until('it is in', () => peers.length === 1);
  t.not(peers[0]?.remoteAddress.port, 0);
  near.close();
  await server.close();
});

void t.test(
  'who listens there as another user hears nothing',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const probe = await startServer();
    const { port } = probe.server.address;
    await probe.server.close();
    const name = localName({ host: '127.0.0.1', port })!;
    const squatter = run(SQUATTER, name, NOBODY);
    await until('it listens', () => squatter.said().includes('up'));
    const { server, peers } = await startServer({ port });
    t.notOk(server.hasLocalSocket);
    const near = await connectBootstrap({ port, secret: SECRET });
    await until('who knows the secret is in, by TCP', () => peers.length === 1);
    t.not(peers[0]?.remoteAddress.port, 0);
    near.close();
    await server.close();
    await squatter.end();
    t.equal(squatter.said(), 'up\n');
  },
);

void t.test(
  'who comes as another user is sent away, and counted',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const { server, rejections } = await startServer();
    const visitor = run(VISITOR, localName(server.address)!, NOBODY);
    await until('it is sent away', () => visitor.said() !== '');
    await visitor.end();
    t.equal(visitor.said(), 'closed 0\n');
    await until('it is counted', () => rejections.length === 1);
    t.match(rejections, [{ reason: 'user', error: { code: 'RDMA_ERR_REFUSED' } }]);
    t.equal(server.counters.rejectedByReason.user, 1);
    t.equal(server.pending, 0);
    await server.close();
  },
);

void t.test('of what is no Unix socket nobody knows the user', async (t) => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const socket = net.connect(port, '127.0.0.1');
  await new Promise((resolve) => socket.once('connect', resolve));
  t.notOk(isSameUser(socket));
  socket.destroy();
  t.notOk(isSameUser(socket), 'nor of one that is gone');
  server.close();
});
