// Proves that messages which are collected leave together, whole and in order, also where the batch goes round the ends
// of both rings; and that collecting never holds up what it must not: a full lane, a great message, a lost connection.
import t, { type Test } from 'tap';
import type { InboxMessage, Outbox } from '../../src/ts/ring/index.js';
import { breakConnection, codeOf, content, hasContent, openInbox, openOutbox, postedBy, until } from './support.js';

async function scene(options: Parameters<typeof openOutbox>[1] = {}) {
  const got: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => got.push(message) });
  const outbox = await openOutbox(inbox, options);
  return { inbox, outbox, got, end: async () => Promise.all([outbox.close(), inbox.close()]) };
}

const send = (outbox: Outbox, ...lengths: number[]) =>
  lengths.map((length) => outbox.trySend(content(outbox.sequence + 1, length)));

/** They are there, whole and in order; from now on their space is free. */
async function take(t: Test, got: InboxMessage[], first: number, lengths: readonly number[]): Promise<void> {
  await until(`${lengths.length} messages are there`, () => got.length >= lengths.length);
  t.strictSame(
    got.map(({ sequence, length }) => [sequence, length]),
    lengths.map((length, i) => [first + i, length]),
  );
  t.ok(
    got.every(({ bytes, sequence }) => hasContent(bytes, sequence)),
    'their bytes are those that were sent',
  );
  for (const message of got.splice(0)) message.done();
}

const ways = [
  { inPlace: true, inlineBytes: 0 },
  { inPlace: false, inlineBytes: 0 },
  { inPlace: false, inlineBytes: 64 },
];
for (const way of ways) {
  void t.test(`what is collected leaves with one doorbell: ${JSON.stringify(way)}`, async (t) => {
    const { outbox, got, end } = await scene(way);
    const lengths = [64, 128, 64, 0, 100, 1, 64, 64];
    const before = postedBy(outbox);
    outbox.cork();
    outbox.cork();
    t.strictSame(send(outbox, ...lengths), [1, 2, 3, 4, 5, 6, 7, 8]);
    outbox.uncork();
    t.equal(outbox.published, 0, 'the outer cork still holds');
    t.strictSame(postedBy(outbox), before);
    outbox.uncork();
    t.equal(outbox.published, 8);
    // The descriptors lie round the end of 8 slots: two WRITEs. Payloads that follow each other at both sides are
    // joined: the first three with the fifth; then the sixth; then the others. With room behind the descriptors only
    // the second and the fifth have a WRITE of their own.
    const requests = outbox.buildsInPlace ? 2 : way.inlineBytes > 0 ? 4 : 5;
    t.strictSame(postedBy(outbox), { doorbells: before.doorbells + 1, sendsPosted: before.sendsPosted + requests });
    await take(t, got, 1, lengths);
    await end();
  });
}

void t.test('batches go round the ends of rings of any size, whole and in order', async (t) => {
  for (const inPlace of [true, false]) {
    const { outbox, got, end } = await scene({ inPlace, slots: 5, dataBytes: 640, retainBytes: 1408 });
    let sequence = 0;
    for (let round = 0; round < 40; round++) {
      outbox.cork();
      const lengths: number[] = [];
      for (let i = 0; i < 4; i++) {
        const length = [64, 0, 128, 65, 192, 1][(round + i) % 6]!;
        if (outbox.trySend(content(sequence + i + 1, length)) === 0) break;
        lengths.push(length);
      }
      outbox.uncork();
      if (round < 2) t.ok(lengths.length > 1, 'more than one at a time');
      await take(t, got, sequence + 1, lengths);
      sequence += lengths.length;
      await outbox.whenAcknowledged();
    }
    t.ok(sequence > 100, `${sequence} messages`);
    await end();
  }
});

void t.test('no room: the collected messages are written, and a waiting send gets room', async (t) => {
  const { outbox, got, end } = await scene({ slots: 4, retainMessages: 4 });
  outbox.cork();
  send(outbox, 10, 10, 10, 10);
  t.equal(outbox.published, 0);
  t.equal(outbox.trySend(content(5, 10)), 0);
  t.equal(outbox.published, 4, 'as there is no room for another one');
  await take(t, got, 1, [10, 10, 10, 10]);
  await end();

  const other = await openInbox({ onMessage: (message) => message.done() });
  const corked = await openOutbox(other, { slots: 2, retainMessages: 3 });
  corked.cork();
  for (let sequence = 1; sequence <= 50; sequence++) t.equal(await corked.send(content(sequence, 30)), sequence);
  t.ok(corked.published >= 47);
  corked.uncork();
  await corked.whenAcknowledged();
  t.equal(other.counters.messages, 50);
  await corked.close();
  await other.close();
});

void t.test('many bytes do not wait', async (t) => {
  const mib = 1 << 20;
  const { outbox, got, end } = await scene({ dataBytes: mib, retainBytes: 4 * mib });
  outbox.cork();
  send(outbox, 1 << 17);
  t.equal(outbox.published, 0);
  send(outbox, 1 << 17);
  t.equal(outbox.published, 2);
  send(outbox, 100);
  t.equal(outbox.published, 2, 'the next ones are collected again');
  await until('two are there', () => got.length === 2);
  outbox.uncork();
  await until('the third is there', () => got.length === 3);
  t.ok(got.every(({ bytes, sequence }) => hasContent(bytes, sequence)));
  await end();
});

void t.test('reservations are collected too, and an open one holds up those behind it', async (t) => {
  const { outbox, got, end } = await scene();
  outbox.cork();
  const first = outbox.tryReserve(70)!;
  const second = outbox.tryReserve(64)!;
  send(outbox, 30);
  second.bytes.set(content(2, 64));
  second.commit();
  first.abort();
  t.equal(outbox.published, 0);
  outbox.uncork();
  t.equal(outbox.published, 3);
  await take(t, got, 2, [64, 30]);
  await end();
});

void t.test('a connection that is lost while messages are collected: they come with the next one', async (t) => {
  const { inbox, outbox, got, end } = await scene();
  outbox.cork();
  send(outbox, 64, 64);
  t.ok(breakConnection(outbox));
  await until('it is connected again', () => inbox.counters.lanesOpened === 2 && outbox.connected);
  await take(t, got, 1, [64, 64]);
  send(outbox, 64);
  outbox.uncork();
  await take(t, got, 3, [64]);
  outbox.uncork(); // once too often: nothing
  t.strictSame(send(outbox, 5), [4]);
  t.equal(outbox.published, 4, 'without a cork each message leaves at once');
  await take(t, got, 4, [5]);
  outbox.cork();
  send(outbox, 5);
  const waiting = codeOf(outbox.whenPublished());
  await end();
  t.equal(await waiting, 'RDMA_ERR_CLOSED', 'what was not written when it was closed is not');
});
