// Invariant under test: documents arrive once, in order and authentic, and a channel ends exactly once.

import { fork } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { type BootstrapChannel, connectBootstrap } from '../../src/ts/connect/index.js';
import { FrameParser } from '../../src/ts/connect/frame-parser.js';
import { ClientHandshake } from '../../src/ts/connect/handshake.js';
import type { Session } from '../../src/ts/connect/session.js';
import { encodeHeader, encodePlainFrame, FrameType, MAX_BODY_BYTES } from '../../src/ts/connect/frame.js';
import type { RdmaError } from '../../src/ts/core/errors.js';
import { closing, connectedPair, liveHandles, SECRET, startServer, until } from './support.js';

/** A client by hand, which knows the secret and can then send what it likes. */
async function handMade(port: number): Promise<{ socket: net.Socket; session: Session; ended: Promise<void> }> {
  const handshake = new ClientHandshake({ secret: Buffer.from(SECRET), service: 'onepiece-rdma', name: 'by hand' });
  const socket = net.connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const parser = new FrameParser();
  socket.write(handshake.hello);
  const session = await new Promise<Session>((resolve) => {
    const onData = (chunk: Buffer): void => {
      parser.push(chunk, (frame) => {
        const step = handshake.onFrame(frame);
        if (step.send !== undefined) socket.write(step.send);
        if (step.session === undefined) return;
        socket.off('data', onData);
        resolve(step.session);
      });
    };
    socket.on('data', onData);
  });
  return { socket, session, ended };
}

void t.test('documents go both ways in order, also those sent before a handler is set', async (t) => {
  const { server, near, far } = await connectedPair();
  const sent = Array.from({ length: 300 }, (_, i) => ({ i, text: 'ñ'.repeat(i * 3) }));
  const got: unknown[] = [];
  for (const document of sent) near.send(document);
  t.strictSame(await far.receive(), sent[0], 'the first by receive');
  far.onMessage = (document) => got.push(document);
  await until('the others came to the handler', () => got.length === sent.length - 1);
  t.strictSame(got, sent.slice(1));
  far.send(['an', 'array']);
  t.strictSame(await near.receive({ timeoutMs: 1000 }), ['an', 'array']);
  await server.close();
});

void t.test('documents sent at once by the server, before it closes, are not lost', async (t) => {
  const { server } = await startServer({
    onPeer: (channel) => {
      for (let i = 0; i < 3; i += 1) channel.send({ i });
      channel.close();
    },
  });
  const { port } = server.address;
  const first = await connectBootstrap({ port, secret: SECRET });
  await until('the goodbye has come', () => first.closed);
  t.strictSame(await first.receive(), { i: 0 });
  t.strictSame(await first.receive(), { i: 1 });
  t.strictSame(await first.receive(), { i: 2 });
  await t.rejects(first.receive(), { code: 'RDMA_ERR_CLOSED' });
  const second = await connectBootstrap({ port, secret: SECRET });
  const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
  await until('the goodbye has come and every socket is gone', () => second.closed && sockets() === 0);
  const events: unknown[] = [];
  second.onClose = (error) => events.push(error ?? 'closed');
  second.onMessage = (document) => events.push(document);
  await until('the messages and the end have come', () => events.length === 4);
  t.strictSame(events, [{ i: 0 }, { i: 1 }, { i: 2 }, 'closed'], 'documents before the end');
  await server.close();
});

void t.test('receive times out, is aborted, waits in turn, and ends with the channel', async (t) => {
  const { server, near, far } = await connectedPair();
  await t.rejects(near.receive({ timeoutMs: 5 }), { code: 'RDMA_ERR_TIMEOUT' });
  const abort = new AbortController();
  const reason = new Error('enough');
  const aborted = near.receive({ signal: abort.signal });
  abort.abort(reason);
  await t.rejects(aborted, { code: 'RDMA_ERR_ABORTED', cause: reason });
  await t.rejects(near.receive({ signal: abort.signal }), { code: 'RDMA_ERR_ABORTED' });
  const waiting = [near.receive(), near.receive()];
  far.send({ n: 1 });
  far.send({ n: 2 });
  t.strictSame(await Promise.all(waiting), [{ n: 1 }, { n: 2 }], 'none was taken by those that gave up');
  near.onMessage = () => undefined;
  await t.rejects(near.receive(), { code: 'RDMA_ERR_BUSY' });
  near.onMessage = undefined;
  const last = near.receive();
  far.destroy();
  await t.rejects(last, { code: 'RDMA_ERR_PEER_GONE' });
  for (const bad of [{ timeoutMs: 0 }, { signal: 1 }, null]) {
    await t.rejects(near.receive(bad as object), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  }
  await server.close();
});

void t.test('an orderly end tells both sides once and without an error, however often it is asked for', async (t) => {
  const { server, near, far } = await connectedPair();
  const calls: unknown[] = [];
  near.onClose = (error) => calls.push(['near', error]);
  far.onClose = (error) => calls.push(['far', error]);
  near.close();
  near.close();
  t.equal(near.closed, true);
  t.throws(() => near.send({}), { code: 'RDMA_ERR_CLOSED' });
  await until('both know', () => calls.length === 2);
  near.destroy();
  near.close();
  far.close();
  await server.close();
  t.strictSame(
    new Set(calls),
    new Set([
      ['near', undefined],
      ['far', undefined],
    ]),
  );
  t.equal(calls.length, 2);
  t.throws(() => far.send({}), { code: 'RDMA_ERR_CLOSED' });
  let late = 0;
  near.onClose = () => {
    late += 1;
  };
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(late, 0, 'it is never told twice');
});

void t.test('a peer that does not end too is cut off after a second', async (t) => {
  const { server, peers } = await startServer();
  const { socket } = await handMade(server.address.port);
  socket.pause();
  await until('the peer is there', () => peers.length === 1);
  const far = peers[0] as BootstrapChannel;
  const end = closing(far);
  const start = Date.now();
  far.close();
  t.equal(await end, undefined);
  t.ok(Date.now() - start < 3000, `${Date.now() - start} ms`);
  socket.destroy();
  await server.close();
});

void t.test('destroy ends at once, with the error given here and a gone peer there', async (t) => {
  const { server, near, far } = await connectedPair();
  const ends = Promise.all([closing(near), closing(far)]);
  const error = Object.assign(new Error('mine'), { code: 'X' }) as RdmaError;
  near.destroy(error);
  const [here, there] = await ends;
  t.equal(here, error);
  t.equal(near.error, error);
  t.equal(there?.code, 'RDMA_ERR_PEER_GONE');
  await server.close();
});

void t.test('an error that a handler throws, or rejects with, ends the channel and reaches onClose', async (t) => {
  const bug = new Error('bug');
  const handlers = [
    () => {
      throw bug;
    },
    async () => {
      throw bug;
    },
    () => runInNewContext('Promise').reject(bug), // of another realm
  ];
  for (const handler of handlers) {
    const { server, near, far } = await connectedPair();
    const end = closing(far);
    far.onMessage = handler;
    near.send({});
    t.match(await end, { code: 'RDMA_ERR_HANDLER', cause: bug });
    t.equal((await closing(near))?.code, 'RDMA_ERR_PEER_GONE');
    await server.close();
  }
});

void t.test('a handler that closes gets nothing more', async (t) => {
  const { server, near, far } = await connectedPair();
  const got: unknown[] = [];
  for (let i = 0; i < 10; i += 1) near.send({ i });
  t.strictSame(await far.receive(), { i: 0 });
  far.onMessage = (document) => {
    got.push(document);
    if (got.length === 2) far.close();
  };
  t.equal(await closing(far), undefined);
  t.strictSame(got, [{ i: 1 }, { i: 2 }]);
  await server.close();
});

void t.test('frames that are tampered with, repeated, untagged or out of place end the channel', async (t) => {
  const body = Buffer.from('{"a":1}');
  const flip = (bytes: Buffer, at: number): Buffer => {
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  };
  const attacks: [string, (session: Session) => Buffer][] = [
    ['a bit of the body', (s) => flip(s.seal(FrameType.MESSAGE, body), 14)],
    ['a bit of the tag', (s) => flip(s.seal(FrameType.MESSAGE, body), 20)],
    ['the type', (s) => flip(s.seal(FrameType.REFUSE, body), 6)],
    ['repeated', (s) => Buffer.concat(Array(2).fill(s.seal(FrameType.MESSAGE, body)))],
    [
      'left out',
      (s) => {
        s.seal(FrameType.MESSAGE, body);
        return s.seal(FrameType.MESSAGE, body);
      },
    ],
    ['untagged', () => encodePlainFrame(FrameType.MESSAGE, body)],
    ['a second handshake', (s) => s.seal(FrameType.HELLO, body)],
    ['a goodbye with a body', (s) => s.seal(FrameType.BYE, body)],
    ['too large', () => encodeHeader(FrameType.MESSAGE, MAX_BODY_BYTES + 1, true)],
    ['not JSON', (s) => s.seal(FrameType.MESSAGE, Buffer.from('{'))],
    ['not a document', (s) => s.seal(FrameType.MESSAGE, Buffer.from('5'))],
    ['garbage', () => Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ];
  const { server, peers } = await startServer();
  for (const [name, attack] of attacks) {
    peers.length = 0;
    const { socket, session, ended } = await handMade(server.address.port);
    await until('the peer is there', () => peers.length === 1);
    const end = closing(peers[0] as BootstrapChannel);
    socket.resume();
    socket.write(attack(session));
    t.equal((await end)?.code, 'RDMA_ERR_PROTOCOL', name);
    await ended;
  }
  await server.close();
});

void t.test('documents too large are refused and the channel lives on', async (t) => {
  const { server, near, far } = await connectedPair();
  t.throws(() => near.send({ a: 'x'.repeat(65536) }), { code: 'RDMA_ERR_MESSAGE_TOO_LARGE' });
  t.throws(() => near.send('text' as unknown as object), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  const largest = { a: 'x'.repeat(65536 - 8) };
  near.send(largest);
  t.strictSame(await far.receive(), largest);
  await server.close();
});

void t.test('a peer that never reads, and one that is never listened to, are both bounded', async (t) => {
  const { server, peers } = await startServer();
  const { socket, ended } = await handMade(server.address.port);
  socket.pause();
  await until('the peer is there', () => peers.length === 1);
  const far = peers[0] as BootstrapChannel;
  const end = closing(far);
  const document = { a: 'x'.repeat(60000) };
  t.throws(
    () => {
      for (let i = 0; i < 10_000; i += 1) far.send(document);
    },
    { code: 'RDMA_ERR_PEER_GONE' },
  );
  t.equal((await end)?.code, 'RDMA_ERR_PEER_GONE');
  socket.destroy();
  await ended;
  peers.length = 0;
  const near = await connectBootstrap({ port: server.address.port, secret: SECRET });
  await until('the peer is there', () => peers.length === 1);
  const unheard = closing(peers[0] as BootstrapChannel);
  for (let i = 0; i < 18 && !near.closed; i += 1) near.send(document);
  t.equal((await unheard)?.code, 'RDMA_ERR_QUEUE_FULL');
  near.destroy();
  await server.close();
});

void t.test('a peer that ends while much is still queued to it is gone at once', async (t) => {
  const { server, peers } = await startServer();
  const { socket } = await handMade(server.address.port);
  socket.pause();
  await until('the peer is there', () => peers.length === 1);
  const far = peers[0]!;
  const end = closing(far);
  // More than the system's buffers hold, less than the channel allows to be queued, so that it cannot all be sent.
  const document = { a: 'x'.repeat(60_000) };
  while (far.queuedBytes < 500_000) far.send(document);
  socket.end();
  t.equal((await end)?.code, 'RDMA_ERR_PEER_GONE');
  socket.destroy();
  await server.close();
});

void t.test('the death of the peer process shows quickly, in whichever way it goes', async (t) => {
  const { server, peers } = await startServer();
  const program = path.join(__dirname, 'child-peer.js');
  for (const mode of ['kill', 'exit', 'close', 'unref']) {
    peers.length = 0;
    const child = fork(program, [String(server.address.port), mode], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    child.disconnect();
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    await until(`the child (${mode}) is there`, () => peers.length === 1);
    const far = peers[0] as BootstrapChannel;
    t.match(await far.receive(), { hello: child.pid });
    const end = closing(far);
    const start = process.hrtime.bigint();
    if (mode === 'kill') child.kill('SIGKILL');
    const error = await end;
    if (mode === 'kill') {
      const ms = Number(process.hrtime.bigint() - start) / 1e6;
      t.ok(ms < 1000, `seen after ${ms.toFixed(1)} ms`);
    }
    t.equal(error?.code, mode === 'close' ? undefined : 'RDMA_ERR_PEER_GONE', mode);
    await exited;
    t.equal(child.exitCode, mode === 'kill' ? null : 0, `${mode}: nothing kept the child`);
  }
  await server.close();
});

void t.test('a channel opened and closed many times leaves no handle behind', async (t) => {
  const { server, peers } = await startServer();
  for (let i = 0; i < 100; i += 1) {
    using near = await connectBootstrap({ port: server.address.port, secret: SECRET });
    near.send({ i });
  }
  await until('all are gone', () => server.peers === 0 && peers.length === 100);
  t.match(server.counters, { accepted: 100, rejected: 0 });
  await server.close();
  await until('no handle is left', () => liveHandles() <= 1);
});
