// Proves that what cannot work is refused with a code and leaves nothing behind: sizes, arguments, addresses, secrets.
import net from 'node:net';
import t from 'tap';
import { Inbox, Outbox, type OutboxOptions } from '../../src/ts/ring/index.js';
import { Device } from '../../src/ts/verbs/index.js';
import { codeOf, content, DEVICE, hasContent, openInbox, openOutbox, SECRET, thrownCode, until } from './support.js';

const INVALID = 'RDMA_ERR_INVALID_ARGUMENT';
const TOO_LARGE = 'RDMA_ERR_MESSAGE_TOO_LARGE';

void t.test('a message that cannot fit is refused at once, and the next one goes', async (t) => {
  const sizes: number[] = [];
  const inbox = await openInbox({
    maxDataBytes: 1024,
    onMessage: (message) => {
      if (hasContent(message.bytes, message.sequence)) sizes.push(message.bytes.length);
      message.done();
    },
  });
  const outbox = await openOutbox(inbox, { dataBytes: 4096 });
  t.equal(outbox.maxMessageBytes, 1024, 'what the inbox granted');
  t.equal(
    thrownCode(() => outbox.trySend(new Uint8Array(1025))),
    TOO_LARGE,
  );
  t.equal(
    thrownCode(() => outbox.trySend(new Uint8Array(1024), new Uint8Array(1))),
    TOO_LARGE,
    'in pieces',
  );
  t.equal(await codeOf(outbox.send(new Uint8Array(2 ** 20))), TOO_LARGE);
  t.equal(await outbox.send(content(1, 1024)), 1, 'exactly the ring');
  t.equal(await outbox.send([]), 2, 'nothing at all');
  const pieces = content(3, 900);
  t.equal(await outbox.send([pieces.subarray(0, 1), pieces.subarray(1, 1), pieces.subarray(1)]), 3, 'in pieces');
  await outbox.whenAcknowledged(3, { timeoutMs: 5000 });
  t.strictSame(sizes, [1024, 0, 900]);
  const small = await openOutbox(inbox, { dataBytes: 1024, retainBytes: 64 });
  t.ok(small.maxMessageBytes >= 64 && small.maxMessageBytes <= 1024, 'what it retains is a bound too');
  await small.close();
  await outbox.close();
  await inbox.close();
});

void t.test('while the inbox is away, messages are taken up to the size that it has granted', async (t) => {
  const inbox = await openInbox({ maxDataBytes: 1024 });
  const outbox = await openOutbox(inbox, { dataBytes: 4096, reconnectMs: 20_000 });
  await inbox.close();
  await until('the connection is lost', () => !outbox.connected);
  t.equal(
    thrownCode(() => outbox.trySend(new Uint8Array(1025))),
    TOO_LARGE,
  );
  t.equal(outbox.trySend(new Uint8Array(1024)), 1);
  await outbox.close();
});

void t.test('any view of memory is sent as its bytes', async (t) => {
  const got: Uint8Array[] = [];
  const inbox = await openInbox({
    onMessage: (message) => {
      got.push(message.bytes.slice());
      message.done();
    },
  });
  const outbox = await openOutbox(inbox);
  const bytes = content(5, 64);
  const anything = outbox as unknown as { trySend(...parts: unknown[]): number };
  anything.trySend(bytes.buffer);
  anything.trySend(new Float32Array(bytes.buffer, 8, 4), new DataView(bytes.buffer, 0, 3));
  await outbox.whenAcknowledged(2, { timeoutMs: 5000 });
  t.strictSame(got[0], bytes);
  t.strictSame([...(got[1] ?? [])], [...bytes.subarray(8, 24), ...bytes.subarray(0, 3)]);
  for (const wrong of [undefined, null, 'text', 7, [1, 2], {}]) {
    t.equal(
      thrownCode(() => anything.trySend(wrong)),
      INVALID,
      String(wrong),
    );
  }
  t.equal(outbox.sequence, 2, 'and took nothing');
  for (const wrong of [0, -1, 1.5, Number.NaN, 2 ** 31]) {
    t.equal(await codeOf(outbox.send(bytes, { timeoutMs: wrong })), INVALID, `timeoutMs ${wrong}`);
  }
  t.equal(await codeOf(outbox.send(bytes, { signal: {} as AbortSignal })), INVALID);
  t.equal(await codeOf(outbox.whenAcknowledged(3)), INVALID, 'a sequence that was never given out');
  t.equal(await codeOf(outbox.whenAcknowledged(-1)), INVALID);
  await outbox.close();
  await inbox.close();
});

void t.test('wrong options are refused, and nothing stays open on a device that is shared', async (t) => {
  using device = Device.open(DEVICE);
  const before = device.ledger.handles.size;
  const inboxes: object[] = [
    { maxLanes: 0 },
    { maxLanes: 4097 },
    { maxSlots: 4096 },
    { maxDataBytes: 63 },
    { wait: 'sleepy' },
    { onMessage: 7 },
    { onLane: {} },
    { secret: 'short' },
    { secret: undefined },
    { port: -1 },
    { port: '80' },
    { host: '' },
  ];
  for (const wrong of inboxes) {
    t.equal(await codeOf(openInbox({ device, ...wrong })), INVALID, JSON.stringify(wrong));
  }
  t.equal(await codeOf(Inbox.listen(undefined as never)), INVALID);
  const to = { host: '127.0.0.1', port: 9 };
  const outboxes: object[] = [
    { slots: 0 },
    { slots: 4096 },
    { dataBytes: 1 },
    { dataBytes: 2 ** 31 },
    { retainMessages: 0 },
    { retainBytes: 63 },
    { reconnectMs: -1 },
    { wait: '' },
    { name: '' },
    { name: 'n'.repeat(129) },
    { to: undefined },
    { to: 'host:1' },
    { to: { host: '127.0.0.1', port: 0 } },
    { to: { host: 7, port: 1 } },
    { secret: 'short' },
    { onAcknowledged: 1 },
    { onConnection: 'x' },
  ];
  for (const wrong of outboxes) {
    t.equal(await codeOf(openOutbox(to, { device, ...wrong })), INVALID, JSON.stringify(wrong));
  }
  t.equal(await codeOf(Outbox.connect(undefined as never)), INVALID);
  t.equal(await codeOf(openOutbox(to, { device: 'no-such-device' })), 'RDMA_ERR_NO_DEVICE');
  t.equal(device.ledger.handles.size, before, 'nothing is left on the device');
});

void t.test('nobody there, the wrong secret, no time: each has its code', async (t) => {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address() as net.AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const away = { host: '127.0.0.1', port };
  t.equal(await codeOf(openOutbox(away, { reconnectMs: 0 })), 'ECONNREFUSED');
  const began = performance.now();
  t.equal(await codeOf(openOutbox(away, { reconnectMs: 300 })), 'ECONNREFUSED');
  t.ok(performance.now() - began < 5000, 'gave up in time');

  const refused: unknown[] = [];
  const inbox = await openInbox({ maxLanes: 1, onLane: (event) => event.type === 'refused' && refused.push(event) });
  t.equal(await codeOf(openOutbox(inbox, { secret: 'another secret' })), 'RDMA_ERR_UNAUTHENTICATED');
  const first = await openOutbox(inbox);
  t.equal(await codeOf(openOutbox(inbox, { name: 'second', reconnectMs: 0 })), 'RDMA_ERR_BUSY', 'all lanes are taken');
  const strangers = { from: '127.0.0.1', producer: '', reason: { code: 'RDMA_ERR_UNAUTHENTICATED' } };
  t.match(refused, [strangers, { from: 'second', reason: { code: 'RDMA_ERR_BUSY' } }]);
  await first.close();
  await until('the lane is free', () => inbox.laneCount === 0);
  const third = await openOutbox(inbox);
  t.ok(third.connected, 'and is given to the next');
  await third.close();
  await inbox.close();
});

void t.test('close() does not wait for a to() that never answers', async (t) => {
  const inbox = await openInbox();
  const address = inbox.bootstrap;
  let asked = 0;
  const never = new Promise<OutboxOptions['to'] & { host: string; port: number }>(() => {});
  const outbox = await openOutbox(() => (asked++ === 0 ? address : never));
  await inbox.close();
  await until('it is asked again', () => asked === 2);
  await outbox.close();
  t.equal(
    thrownCode(() => outbox.trySend(new Uint8Array(1))),
    'RDMA_ERR_CLOSED',
  );
});

void t.test('an address in use is an error, with nothing left open', async (t) => {
  const inbox = await openInbox();
  t.equal(await codeOf(openInbox({ port: inbox.bootstrap.port, secret: SECRET })), 'EADDRINUSE');
  await inbox.close();
  t.throws(() => inbox.bootstrap, { code: 'RDMA_ERR_CLOSED' });
});

void t.test(
  'the loop form: wrong looks, wrong parts and wrong reservations are refused, and the loop goes on',
  async (t) => {
    const inbox = await openInbox({ wait: 'busy' });
    const outbox = await openOutbox(inbox);
    const other = await openOutbox(inbox);
    let seen = 0;
    const visit = (lane: { sequence: number; release(n: number): void; acknowledge(n: number): void }) => {
      seen++;
      lane.release(lane.sequence);
      lane.acknowledge(lane.sequence);
    };
    for (const looks of [0, -1, 2 ** 20 + 1, Number.NaN, 'many' as unknown as number]) {
      t.equal(
        thrownCode(() => inbox.poll(visit, looks)),
        INVALID,
        `${looks} looks`,
      );
    }
    const send = outbox as unknown as { trySend(...parts: unknown[]): number };
    for (const parts of [[undefined], [content(1, 3), null], [1, 2, 3, 4], [content(1, 3), 'x', content(1, 3), 'y']]) {
      t.equal(
        thrownCode(() => send.trySend(...parts)),
        INVALID,
      );
    }
    const open = outbox.tryReserve(10)!;
    const ended = other.tryReserve(10)!;
    ended.abort();
    for (const reuse of [open, ended]) {
      t.equal(
        thrownCode(() => outbox.tryReserve(10, reuse)),
        INVALID,
        'one that is open, or of another outbox',
      );
    }
    open.bytes.set(content(1, 10));
    open.commit();
    const again = outbox.tryReserve(20, open);
    t.equal(again, open, 'the same reservation');
    t.equal(again?.sequence, 2);
    t.equal(again?.bytes.length, 20);
    again?.commit(5);
    t.equal(outbox.trySend(), 3, 'no part: an empty message');
    t.equal(outbox.trySend(content(1, 1), content(2, 2), content(3, 3), content(4, 4), content(5, 5)), 4);
    await until('all four are there', () => {
      inbox.poll(visit, 2);
      return seen === 4;
    });
    await outbox.close();
    await other.close();
    await inbox.close();
  },
);
