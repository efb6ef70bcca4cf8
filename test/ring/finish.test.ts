// Proves: close() of an outbox waits for what was sent, in every mode and whatever happens meanwhile, but not longer
// than it may; and it says what it gives up.
import t from 'tap';
import type { ConnectionEvent, InboxMessage, WaitMode } from '../../src/ts/ring/index.js';
import {
  breakConnection,
  codeOf,
  content,
  DEVICE,
  hasContent,
  openInbox,
  openOutbox as open,
  thrownCode,
  until,
} from './support.js';

const MESSAGES = 500;
const CLOSE_MS = 5000;
const openOutbox: typeof open = (to, options) => open(to, { closeMs: CLOSE_MS, ...options });
const NOTHING_LEFT = { unacknowledged: 0, unwritten: 0 };

/** An inbox that acknowledges what it gets, and counts it. */
async function counting(options: Parameters<typeof openInbox>[0] = {}) {
  const seen = { good: 0 };
  const inbox = await openInbox({
    onMessage: (message) => {
      if (hasContent(message.bytes, message.sequence)) seen.good++;
      message.done();
    },
    ...options,
  });
  return { inbox, seen };
}

for (const wait of ['adaptive', 'event', 'busy'] as const satisfies WaitMode[]) {
  void t.test(`${wait}: what was sent before close() arrives, however it was sent`, async (t) => {
    const { inbox, seen } = await counting();
    for (const way of ['awaited', 'not awaited', 'corked', 'reserved']) {
      seen.good = 0;
      const events: string[] = [];
      const onConnection = ({ type }: ConnectionEvent) => events.push(type);
      const outbox = await openOutbox(inbox, { wait, slots: 64, dataBytes: 65536, onConnection });
      if (way === 'corked') outbox.cork();
      const sending: Promise<number>[] = [];
      for (let i = 1; i <= MESSAGES; i++) {
        if (way === 'reserved') {
          const place = await outbox.reserve(20);
          place.bytes.set(content(i, 20));
          place.commit();
          continue;
        }
        const sent = outbox.send(content(i, 20));
        sending.push(sent);
        if (way !== 'not awaited') await sent;
      }
      t.same(await outbox.close(), NOTHING_LEFT, way);
      t.equal(seen.good, MESSAGES, way);
      t.same(
        await Promise.all(sending),
        sending.map((_, i) => i + 1),
      );
      t.same(events, ['open']);
      await until('the lane is gone', () => inbox.laneCount === 0);
    }
    await inbox.close();
  });
}

void t.test('more than is retained waits for room, and close() for it', async (t) => {
  const { inbox, seen } = await counting();
  const outbox = await openOutbox(inbox, { retainMessages: 16 });
  const sending = Array.from({ length: 100 }, (_, i) => outbox.send(content(i + 1, 20)));
  const closed = outbox.close();
  t.equal(closed, outbox.close());
  t.equal(
    thrownCode(() => outbox.trySend(content(1, 1))),
    'RDMA_ERR_CLOSED',
    'nothing new is taken',
  );
  t.equal(
    thrownCode(() => outbox.tryReserve(1)),
    'RDMA_ERR_CLOSED',
  );
  t.equal(await codeOf(outbox.send(content(1, 1))), 'RDMA_ERR_CLOSED');
  t.equal(await codeOf(outbox.reserve(1)), 'RDMA_ERR_CLOSED');
  t.same(await closed, NOTHING_LEFT);
  t.equal((await Promise.all(sending)).at(-1), 100);
  t.equal(seen.good, 100);
  await inbox.close();
});

void t.test('a reservation may be committed until the wait is over, and alone is not waited for', async (t) => {
  const { inbox, seen } = await counting();
  const outbox = await openOutbox(inbox);
  const place = await outbox.reserve(20);
  place.bytes.set(content(1, 20));
  await outbox.send(content(2, 20));
  const closed = outbox.close();
  await null;
  place.commit();
  t.same(await closed, NOTHING_LEFT);
  t.equal(seen.good, 2);
  const other = await openOutbox(inbox);
  const forgotten = await other.reserve(20);
  const began = performance.now();
  t.same(await other.close(), NOTHING_LEFT);
  t.ok(performance.now() - began < 4000, 'nobody waits for who does not commit');
  t.equal(
    thrownCode(() => forgotten.commit()),
    'RDMA_ERR_CLOSED',
  );
  await inbox.close();
});

void t.test('close() waits closeMs for acknowledgements, and reports the messages that it gives up', async (t) => {
  const held: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => held.push(message) });
  for (const closeMs of [300, 0]) {
    const events: ConnectionEvent[] = [];
    const outbox = await openOutbox(inbox, {
      slots: 4,
      retainMessages: 16,
      closeMs,
      onConnection: (event) => events.push(event),
    });
    for (let i = 0; i < 16; i++) await outbox.send(content(i, 20));
    const waits = codeOf(outbox.send(content(17, 20)));
    await until('the lane is full', () => held.length === 4);
    const began = performance.now();
    t.same(await outbox.close(), { unacknowledged: 16, unwritten: 12 });
    const tookMs = performance.now() - began;
    t.ok(tookMs >= closeMs - 1 && tookMs < closeMs + 3000, `${tookMs} ms`);
    t.match(events.slice(1), [
      { type: 'abandoned', reason: { code: 'RDMA_ERR_TIMEOUT', message: /16 messages .* 12 of them not written/ } },
    ]);
    t.equal(await waits, 'RDMA_ERR_CLOSED', 'who waits for room was not taken');
    for (const message of held.splice(0)) message.done();
    await until('the lane is gone', () => inbox.laneCount === 0);
  }
  await inbox.close();
});

void t.test('an acknowledgement that comes late ends the wait', async (t) => {
  const held: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => held.push(message) });
  const outbox = await openOutbox(inbox, { closeMs: 60_000 });
  await outbox.send(content(1, 20));
  const closed = outbox.close();
  await until('it is there', () => held.length === 1);
  held[0]!.done();
  t.same(await closed, NOTHING_LEFT);
  await inbox.close();
});

void t.test('a connection that is lost meanwhile is made again', async (t) => {
  const { inbox, seen } = await counting();
  const outbox = await openOutbox(inbox, { closeMs: 20_000, retainMessages: 64 });
  const sending = Array.from({ length: 200 }, (_, i) => outbox.send(content(i + 1, 20)));
  const closed = outbox.close();
  t.ok(breakConnection(outbox));
  t.same(await closed, NOTHING_LEFT);
  await Promise.all(sending);
  t.equal(seen.good, 200);
  await inbox.close();

  const first = await openInbox();
  const { port } = first.bootstrap;
  const late = await openOutbox(first, { closeMs: 20_000 });
  for (let i = 1; i <= 8; i++) await late.send(content(i, 20));
  await first.close();
  const ends = late.close();
  const second = await counting({ port });
  t.same(await ends, NOTHING_LEFT, 'the next inbox has got it');
  t.equal(second.seen.good, 8);
  await second.inbox.close();
});

void t.test('an inbox that does not come back ends the wait with the outbox', async (t) => {
  const inbox = await openInbox();
  const events: string[] = [];
  const outbox = await openOutbox(inbox, {
    closeMs: 60_000,
    reconnectMs: 200,
    onConnection: ({ type }) => events.push(type),
  });
  await outbox.send(content(1, 20));
  await inbox.close();
  const began = performance.now();
  t.same(await outbox.close(), { unacknowledged: 1, unwritten: 0 });
  t.ok(performance.now() - began < 20_000);
  t.same(events, ['open', 'lost', 'failed']);
});

void t.test('closeMs is checked, and a callback may close', async (t) => {
  const { inbox, seen } = await counting();
  for (const closeMs of [-1, 0.5, 2 ** 31, '5', {}]) {
    const options = { closeMs } as unknown as { closeMs: number };
    t.equal(await codeOf(openOutbox(inbox, options)), 'RDMA_ERR_INVALID_ARGUMENT', String(closeMs));
  }
  const outbox = await openOutbox(inbox, { device: DEVICE, onAcknowledged: () => void outbox.close() });
  for (let i = 1; i <= 3; i++) outbox.trySend(content(i, 20));
  await until('all have arrived', () => seen.good === 3);
  t.same(await outbox.close(), NOTHING_LEFT);
  await inbox.close();
});
