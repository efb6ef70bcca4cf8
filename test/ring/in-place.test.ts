// Proves that messages can be built in the inbox's own memory where memory is shared, and that this changes nothing of
// what holds: order, custody over a restart of the inbox, and that a fenced lane cannot be written any more.
import t from 'tap';
import { type Inbox, type InboxMessage, Outbox, type Reservation } from '../../src/ts/ring/index.js';
import {
  breakConnection,
  codeOf,
  content,
  hasContent,
  openInbox,
  openOutbox,
  SECRET,
  thrownCode,
  until,
} from './support.js';

interface Scene {
  inbox: Inbox;
  outbox: Outbox;
  got: InboxMessage[];
}

async function scene(options: Parameters<typeof openOutbox>[1] = {}): Promise<Scene> {
  const got: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => got.push(message) });
  return { inbox, outbox: await openOutbox(inbox, options), got };
}

function build(outbox: Outbox, length: number): Reservation {
  const reservation = outbox.tryReserve(length);
  if (reservation === undefined) throw new Error('no room');
  reservation.bytes.set(content(reservation.sequence, length));
  return reservation;
}

void t.test('what is built in place is the message itself: the inbox sees the same memory', async (t) => {
  const { inbox, outbox, got } = await scene();
  t.ok(outbox.buildsInPlace);
  const reservation = build(outbox, 1000);
  const { bytes } = reservation;
  t.equal(reservation.commit(900), 1);
  await until('the message is there', () => got.length === 1);
  const [message] = got as [InboxMessage];
  t.equal(message.length, 900);
  t.strictSame(Buffer.from(message.bytes), Buffer.from(content(1, 1000).subarray(0, 900)));
  bytes[7] = 1; // a producer that does not keep to the rules: the proof that nothing was copied
  t.equal(message.bytes[7], 1);
  t.strictSame([outbox.counters.inPlace, outbox.counters.messages, outbox.counters.bytes], [1, 1, 900]);
  t.equal(reservation.bytes.length, 0);
  t.equal(
    thrownCode(() => reservation.commit()),
    'RDMA_ERR_CLOSED',
  );
  reservation.abort();
  await outbox.close();
  await inbox.close();
});

void t.test(
  'later messages wait for an open reservation, and keep their order; one that is given up is passed over',
  async (t) => {
    const { inbox, outbox, got } = await scene();
    const first = build(outbox, 100);
    const second = build(outbox, 100);
    const third = build(outbox, 0);
    await outbox.send(content(4, 50));
    third.commit();
    second.commit();
    await new Promise((resolve) => setTimeout(resolve, 20));
    t.equal(got.length, 0);
    t.equal(outbox.status().stalledBy, 'reservation');
    first.abort();
    await until('the others are there', () => got.length === 3);
    t.strictSame(
      got.map((message) => [message.sequence, hasContent(message.bytes, message.sequence)]),
      [
        [2, true],
        [3, true],
        [4, true],
      ],
    );
    for (const message of got) message.done();
    await outbox.whenAcknowledged();
    t.strictSame([inbox.counters.skipped, inbox.counters.messages, outbox.counters.aborted], [1, 3, 1]);
    {
      using forgotten = outbox.tryReserve(10);
      t.equal(forgotten?.sequence, 5);
    }
    await outbox.whenAcknowledged(5);
    await outbox.close();
    await inbox.close();
  },
);

void t.test('a reservation waits for credit, with a deadline and a signal; back-pressure gives events', async (t) => {
  const events: string[] = [];
  const { inbox, outbox, got } = await scene({
    slots: 2,
    onStall: ({ type, cause }) => events.push(`${type} ${cause ?? ''}`.trim()),
  });
  build(outbox, 10).commit();
  build(outbox, 10).commit();
  t.equal(outbox.tryReserve(10), undefined);
  t.equal(await codeOf(outbox.reserve(10, { timeoutMs: 20 })), 'RDMA_ERR_TIMEOUT');
  t.equal(await codeOf(outbox.reserve(10, { signal: AbortSignal.abort() })), 'RDMA_ERR_ABORTED');
  const waiting = outbox.reserve(10);
  await until('both are there', () => got.length === 2);
  t.equal(outbox.status().waiting, 1);
  for (const message of got) message.done();
  const reservation = await waiting;
  t.equal(reservation.bytes.length, 10);
  reservation.abort();
  t.strictSame(events, ['stalled slots', 'flowing']);
  t.equal(
    thrownCode(() => outbox.tryReserve(-1)),
    'RDMA_ERR_INVALID_ARGUMENT',
  );
  t.equal(
    thrownCode(() => outbox.tryReserve(2 ** 30)),
    'RDMA_ERR_MESSAGE_TOO_LARGE',
  );
  await outbox.close();
  await inbox.close();
});

void t.test('a reservation outlives its lane: it is committed to the next one', async (t) => {
  const { inbox, outbox, got } = await scene();
  const kept = build(outbox, 300);
  const dropped = build(outbox, 300);
  t.ok(breakConnection(outbox));
  await until('it has connected again', () => outbox.counters.connects === 2);
  kept.bytes.set(content(kept.sequence, 300)); // the old lane's memory, which nobody sees any more
  kept.commit();
  dropped.abort();
  await until('the message is there', () => got.length === 1);
  t.ok(hasContent(got[0]!.bytes, kept.sequence));
  got[0]!.done();
  await outbox.whenAcknowledged();
  const open = build(outbox, 10);
  await outbox.close();
  t.equal(open.bytes.length, 0, 'after close() there is no memory');
  t.equal(
    thrownCode(() => open.commit()),
    'RDMA_ERR_CLOSED',
  );
  open.abort();
  await inbox.close();
});

void t.test(
  'custody: what was released and not acknowledged is sent again, as it was, when the inbox has died',
  async (t) => {
    const first = await scene({ slots: 4, dataBytes: 1024 });
    let to = first.inbox.bootstrap;
    const outbox = await Outbox.connect({
      to: () => to,
      secret: SECRET,
      slots: 4,
      dataBytes: 1024,
      retainBytes: 16384,
    });
    const count = 12;
    for (let n = 1; n <= count; n++) {
      const reservation = await outbox.reserve(300);
      reservation.bytes.set(content(reservation.sequence, 300));
      reservation.commit();
      await until(`message ${n} is there`, () => first.got.length === n);
      first.got[n - 1]!.release(); // its space is used again by a later one; nothing is acknowledged
    }
    t.ok(outbox.counters.spilled >= count - 4, `${outbox.counters.spilled} were brought home`);
    const got: InboxMessage[] = [];
    const next = await openInbox({ onMessage: (message) => got.push(message) });
    to = next.bootstrap;
    await first.inbox.close();
    await until('the next inbox gets them', () => got.length > 0);
    for (let n = 1; n <= count; n++) {
      await until(`message ${n} came again`, () => got.length >= n);
      t.ok(got[n - 1]!.sequence === n && hasContent(got[n - 1]!.bytes, n));
      got[n - 1]!.done();
    }
    await outbox.whenAcknowledged();
    await first.outbox.close();
    await outbox.close();
    await next.close();
  },
);

void t.test(
  'when a lane was fenced, its producer changes nothing that is held, wherever it still writes',
  async (t) => {
    const { inbox, outbox, got } = await scene();
    const late = build(outbox, 500);
    const view = late.bytes; // kept beyond commit(), as a late writer would
    late.commit();
    await until('the message is there', () => got.length === 1);
    const open = build(outbox, 10); // keeps the lane mapped
    breakConnection(outbox);
    await until('the lane is fenced', () => inbox.counters.fences === 1);
    t.equal(view.length, 500, 'the late writer still has its pages');
    view.fill(255);
    open.abort();
    t.ok(hasContent(got[0]!.bytes, 1), 'what is held stays as it was');
    t.equal(inbox.counters.quarantined, 0, 'and the lane was left for good');
    got[0]!.done();
    await outbox.close();
    await inbox.close();
  },
);

void t.test('either side can do without', async (t) => {
  const { inbox, outbox, got } = await scene({ inPlace: false });
  t.notOk(outbox.buildsInPlace);
  build(outbox, 100).commit();
  const strict = await openInbox({ inPlace: false, onMessage: (message) => got.push(message) });
  const other = await openOutbox(strict);
  t.notOk(other.buildsInPlace);
  build(other, 200).commit();
  await until('both are there', () => got.length === 2);
  for (const message of got) {
    t.ok(hasContent(message.bytes, 1));
    message.done();
  }
  t.equal(outbox.counters.inPlace + other.counters.inPlace, 0);
  await outbox.close();
  await other.close();
  await strict.close();
  await inbox.close();
});
