// Proves: an answer from a peer that has not proved that it knows the secret ends no outbox that had an inbox; an
// answer of the inbox itself does.
import net from 'node:net';
import t from 'tap';
import { encodeHeader, encodePlainFrame, FrameType } from '../../src/ts/connect/frame.js';
import { encodeRefuse } from '../../src/ts/connect/handshake-messages.js';
import { BootstrapServer } from '../../src/ts/connect/index.js';
import { RdmaError } from '../../src/ts/core/errors.js';
import { type ConnectionEvent, type OutboxOptions, Outbox } from '../../src/ts/ring/index.js';
import { codeOf, content, DEVICE, hasContent, openInbox, openOutbox, SECRET, until } from './support.js';

const HOST = '127.0.0.1';
const refuse = (code: string) => encodePlainFrame(FrameType.REFUSE, encodeRefuse({ code, words: 'go away' }));

/** What a stranger at the port may say when somebody has said hello. */
const words: Record<string, (hello: Buffer) => Buffer> = {
  unauthenticated: () => refuse('unauthenticated'),
  refused: () => refuse('refused'),
  version: () => refuse('version'),
  busy: () => refuse('busy'),
  'a code that is not known': () => refuse('for ever'),
  'frames of another version': () => encodeHeader(FrameType.CHALLENGE, 0, false).fill(9, 5, 6),
  'a version that nobody speaks': () => encodePlainFrame(FrameType.CHALLENGE, Buffer.alloc(34, 0xee)),
  'the nonce of the client': (hello) => {
    const nonce = hello.subarray(16, 48);
    return encodePlainFrame(FrameType.CHALLENGE, Buffer.concat([hello.subarray(12, 14), nonce]));
  },
  'its own words': (hello) => hello,
  'another protocol': () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
  nothing: () => Buffer.alloc(0),
};

/** Sits at a port, and answers whoever connects. */
async function squat(port: number, say: (hello: Buffer) => Buffer) {
  let hits = 0;
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (hello) => {
      hits++;
      socket.end(say(hello));
    });
  });
  await new Promise<void>((resolve) => server.listen(port, HOST, resolve));
  const { port: at } = server.address() as net.AddressInfo;
  return {
    port: at,
    hits: () => hits,
    leave: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

for (const [what, say] of Object.entries(words)) {
  void t.test(`a stranger at the port of a restarting inbox who says ${what} ends nothing`, async (t) => {
    const first = await openInbox();
    const { port } = first.bootstrap;
    const events: string[] = [];
    const onConnection = (event: ConnectionEvent) => events.push(event.type);
    const outbox = await openOutbox({ host: HOST, port }, { reconnectMs: 60_000, onConnection });
    for (let i = 1; i <= 5; i++) await outbox.send(content(i, 100));
    await first.close();
    const stranger = await squat(port, say);
    await until('the outbox has tried twice', () => stranger.hits() >= 2);
    await stranger.leave();
    const got: boolean[] = [];
    const second = await openInbox({
      port,
      onMessage: (message) => {
        got.push(hasContent(message.bytes, message.sequence));
        message.done();
      },
    });
    await outbox.whenAcknowledged(5, { timeoutMs: 10_000 });
    t.same(got, [true, true, true, true, true]);
    t.same(events, ['open', 'lost', 'open']);
    await outbox.close();
    await second.close();
  });
}

void t.test('a refusal is final in the end: when the inbox does not come back in time', async (t) => {
  const inbox = await openInbox();
  const { port } = inbox.bootstrap;
  const failures: (string | undefined)[] = [];
  const onConnection = ({ type, reason }: ConnectionEvent) => type === 'failed' && failures.push(reason?.code);
  const outbox = await openOutbox({ host: HOST, port }, { reconnectMs: 300, onConnection });
  await outbox.send(content(1, 100));
  await inbox.close();
  const stranger = await squat(port, words.unauthenticated!);
  t.equal(await codeOf(outbox.whenAcknowledged()), 'RDMA_ERR_UNAUTHENTICATED');
  t.same(failures, ['RDMA_ERR_UNAUTHENTICATED']);
  t.equal(outbox.unacknowledged, 1);
  await outbox.close();
  await stranger.leave();
});

void t.test('before the first connection it is final, unless the secret is known to be right', async (t) => {
  const stranger = await squat(0, words.unauthenticated!);
  const { port } = stranger;
  const to = { host: HOST, port };
  t.equal(await codeOf(openOutbox(to, { reconnectMs: 60_000 })), 'RDMA_ERR_UNAUTHENTICATED');
  t.equal(stranger.hits(), 1);
  const patient = openOutbox(to, { reconnectMs: 60_000, retryRefused: true });
  await until('it tries again', () => stranger.hits() >= 3);
  await stranger.leave();
  const inbox = await openInbox({ port, onMessage: (message) => message.done() });
  const outbox = await patient;
  await outbox.send(content(1, 10));
  await outbox.whenAcknowledged(1, { timeoutMs: 10_000 });
  await outbox.close();
  await inbox.close();
  const wrong = { to, secret: SECRET, device: DEVICE, retryRefused: 1 } as unknown as OutboxOptions;
  t.equal(await codeOf(Outbox.connect(wrong)), 'RDMA_ERR_INVALID_ARGUMENT');
});

void t.test('what the inbox itself says, or the function that finds it, is final', async (t) => {
  const first = await openInbox();
  const { port } = first.bootstrap;
  const outbox = await openOutbox({ host: HOST, port }, { reconnectMs: 60_000 });
  await outbox.send(content(1, 100));
  await first.close();
  const inbox = await BootstrapServer.listen({
    port,
    secret: SECRET,
    service: 'onepiece-inbox',
    onPeer: (channel) => {
      channel.onMessage = () => channel.send({ type: 'error', code: 'RDMA_ERR_REFUSED', message: 'never again' });
    },
  });
  t.equal(await codeOf(outbox.whenAcknowledged(1, { timeoutMs: 10_000 })), 'RDMA_ERR_REFUSED');
  await outbox.close();
  await inbox.close();

  const second = await openInbox();
  const { bootstrap } = second;
  let asked = 0;
  const lost = await openOutbox(
    () => {
      if (asked++ === 0) return bootstrap;
      throw new RdmaError('RDMA_ERR_REFUSED', 'it was given up');
    },
    { reconnectMs: 60_000 },
  );
  await lost.send(content(1, 100));
  await second.close();
  t.equal(await codeOf(lost.whenAcknowledged(1, { timeoutMs: 10_000 })), 'RDMA_ERR_REFUSED');
  t.equal(asked, 2);
  await lost.close();
});
