// Proves what holds for lanes whose descriptors the inbox looks at itself, in its loop: messages come by stores alone,
// whole and in order, from as many producers as like; what is half stored is not there yet; what is wrong fences its
// lane.
import t, { type Test } from 'tap';
import type { Inbox, InboxOptions, Lane, LaneEvent } from '../../src/ts/ring/index.js';
import { DescriptorFlags, laneImm } from '../../src/ts/ring/layout.js';
import { RawConsumer } from './raw-consumer.js';
import { RawProducer, type Wrong } from './raw-producer.js';
import { breakConnection, codeOf, content, hasContent, openInbox, openOutbox, postedBy, until } from './support.js';

/** A busy inbox and what it has delivered. */
class Poller {
  readonly events: LaneEvent[] = [];
  readonly wrong: string[] = [];
  /** Sequences, by the name of the producer. */
  readonly got = new Map<string, number[]>();
  /** Messages are held from now on. */
  holds = false;
  readonly inbox: Inbox;

  private constructor(inbox: Inbox) {
    this.inbox = inbox;
  }

  static async open(options: Partial<InboxOptions> = {}): Promise<Poller> {
    let poller: Poller | undefined;
    const onLane = (event: LaneEvent) => poller!.events.push(event);
    poller = new Poller(await openInbox({ wait: 'busy', onLane, ...options }));
    return poller;
  }

  private readonly visit = (lane: Lane): void => {
    const message = lane.message();
    const { from, sequence } = message;
    const list = this.got.get(from) ?? [];
    this.got.set(from, list);
    if (sequence !== (list.at(-1) ?? 0) + 1) this.wrong.push(`${from}: ${sequence} after ${list.at(-1)}`);
    if (!hasContent(message.bytes, sequence)) this.wrong.push(`${from}: ${sequence} has other bytes`);
    list.push(sequence);
    if (!this.holds) message.done();
  };

  poll(): void {
    this.inbox.poll(this.visit);
  }

  count(from: string): number {
    return this.got.get(from)?.length ?? 0;
  }

  /** Polls until a condition holds. */
  async until(condition: () => boolean, what: string): Promise<void> {
    await until(what, () => {
      this.poll();
      return condition();
    });
  }

  async close(t: Test): Promise<void> {
    t.strictSame(this.wrong, []);
    const closed = this.inbox.close();
    await closed;
  }
}

void t.test(
  'messages come by stores alone: copied, built in place, and those that had to wait for credit',
  async (t) => {
    const poller = await Poller.open();
    const outbox = await openOutbox(poller.inbox, { name: 'p', slots: 4, dataBytes: 8192, retainBytes: 65536 });
    t.ok(poller.inbox.status().lanes[0]!.polled);
    const lengths = [100, 0, 64, 5000, 1, 1023, 1024, 1025, 63, 8192, 7, 2000, 40];
    let done = 0;
    while (done < 200) {
      const length = lengths[done % lengths.length]!;
      const bytes = content(done + 1, length);
      let taken: number;
      if (done % 3 === 0) {
        const reservation = outbox.tryReserve(length);
        reservation?.bytes.set(bytes);
        taken = reservation?.commit() ?? 0;
      } else {
        taken = outbox.trySend(bytes);
      }
      if (taken > 0) {
        t.equal(taken, ++done);
        continue;
      }
      t.ok(outbox.unacknowledged > 4 || done % 3 === 0, 'more was taken than the lane holds');
      poller.poll();
      outbox.poll();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await poller.until(() => {
      outbox.poll();
      return outbox.acknowledged === 200;
    }, 'all are acknowledged');
    t.equal(poller.count('p'), 200);
    t.equal(postedBy(outbox).sendsPosted, 0, 'no work request was posted for them');
    await outbox.close();
    await poller.close(t);
  },
);

void t.test('checksums of payloads are checked there too', async (t) => {
  const poller = await Poller.open();
  const outbox = await openOutbox(poller.inbox, { name: 'p', checksum: true });
  for (let i = 1; i <= 20; i++) await outbox.send(content(i, 37 * i));
  await poller.until(() => poller.count('p') === 20, 'all are there');
  t.equal(postedBy(outbox).sendsPosted, 0);
  await outbox.close();
  await poller.close(t);
});

void t.test('producers beyond those that are polled, and those that map nothing, are served as well', async (t) => {
  const producers = 20;
  const poller = await Poller.open({ maxLanes: producers + 1 });
  const outboxes = await Promise.all(
    Array.from({ length: producers }, (_, i) => openOutbox(poller.inbox, { name: `p${i}` })),
  );
  outboxes.push(await openOutbox(poller.inbox, { name: 'far', inPlace: false }));
  const polled = () => poller.inbox.status().lanes.filter((lane) => lane.polled).length;
  t.equal(polled(), 16);
  for (let i = 1; i <= 100; i++) {
    await Promise.all(
      outboxes.map(async (outbox) => {
        const sent = outbox.send(content(i, (i * 31) % 400));
        poller.poll();
        await sent;
      }),
    );
  }
  const names = [...Array.from({ length: producers }, (_, i) => `p${i}`), 'far'];
  await poller.until(() => names.every((name) => poller.count(name) === 100), 'all of all are there');
  t.ok(postedBy(outboxes.at(-1)!).sendsPosted > 0);
  // A place that is given up is given to the next one.
  await outboxes[0]!.close();
  await poller.until(() => poller.inbox.laneCount === producers, 'it has gone');
  t.equal(polled(), 15);
  const late = await openOutbox(poller.inbox, { name: 'late' });
  t.equal(polled(), 16);
  await late.send(content(1, 10));
  await poller.until(() => poller.count('late') === 1, 'and its message is there');
  await Promise.all([late, ...outboxes].map((outbox) => outbox.close()));
  await poller.close(t);
});

void t.test(
  'what was published before its producer went away is delivered; the rest comes with the next lane',
  async (t) => {
    const poller = await Poller.open();
    const outbox = await openOutbox(poller.inbox, { name: 'p', slots: 8, dataBytes: 65536 });
    for (let i = 1; i <= 5; i++) outbox.trySend(content(i, 1000));
    t.ok(breakConnection(outbox));
    for (let i = 6; i <= 20; i++) outbox.trySend(content(i, 1000));
    await poller.until(() => poller.inbox.counters.lanesOpened === 2 && poller.count('p') === 20, 'all are there');
    t.equal(outbox.counters.resent, 0, 'what was there before is not sent again');
    await outbox.whenAcknowledged(5);
    const last = await openOutbox(poller.inbox, { name: 'last' });
    for (let i = 1; i <= 8; i++) last.trySend(content(i, 10));
    await last.close();
    await poller.until(() => poller.count('last') === 8, 'all that it has published are there');
    await outbox.close();
    await poller.close(t);
  },
);

void t.test('a descriptor that is half stored is not there yet, and is when the rest comes', async (t) => {
  const poller = await Poller.open();
  for (let words = 1; words <= 12; words++) {
    const raw = await RawProducer.connect(poller.inbox, { inPlace: true, name: `raw${words}` });
    t.ok(raw.answer.polled);
    raw.store(content(1, 300));
    raw.store(content(2, 300), {}, words);
    await poller.until(() => poller.count(`raw${words}`) === 1, 'the first is there');
    for (let i = 0; i < 200; i++) poller.poll();
    t.equal(poller.count(`raw${words}`), 1, `${words} words are no descriptor`);
    raw.storeRest();
    await poller.until(() => poller.count(`raw${words}`) === 2, 'the second is there');
    raw.close();
    await poller.until(() => poller.inbox.laneCount === 0, 'it is gone');
  }
  t.ok(poller.events.every(({ reason }) => reason?.code !== 'RDMA_ERR_PROTOCOL'));
  await poller.close(t);
});

const crimes: Record<string, Wrong> = {
  'a bad checksum': { tamper: [12, 1] },
  'a changed word': { tamper: [6, 1] },
  'another epoch': { epoch: 77 },
  'a sequence beyond 2^53': { tamper: [3, 2 ** 31] },
  'an offset out of place': { offset: 192 },
  'an offset outside the ring': { offset: 2 ** 32 - 64 },
  'a length beyond the ring': { length: 4097 },
  'a length that reaches over the end': { length: 4096 },
  'a kind that is not known': { kind: 9 },
};

void t.test('a wrong descriptor fences its lane and reaches nobody else', async (t) => {
  const poller = await Poller.open();
  const good = await openOutbox(poller.inbox, { name: 'good' });
  for (const [name, wrong] of Object.entries(crimes)) {
    poller.events.length = 0;
    poller.got.delete('raw');
    const raw = await RawProducer.connect(poller.inbox, { inPlace: true });
    raw.store(content(1, 100));
    raw.store(content(2, 100), wrong);
    await poller.until(() => poller.events.some(({ type }) => type === 'fenced'), `${name} is fenced`);
    t.match(poller.events.at(-1), { from: 'raw', reason: { code: 'RDMA_ERR_PROTOCOL' } }, name);
    t.equal(poller.count('raw'), 1, 'what was right before is delivered');
    raw.close();
    await good.send(content(good.sequence + 1, 50));
  }
  await poller.until(() => poller.count('good') === good.sequence, 'the good one is undisturbed');
  await good.close();
  await poller.close(t);
});

void t.test('a short message lies in its slot, aligned, and takes nothing of the data ring', async (t) => {
  const poller = await Poller.open();
  poller.holds = true;
  const outbox = await openOutbox(poller.inbox, { name: 'p', slots: 8, inlineBytes: 128 });
  t.match(poller.inbox.status().lanes[0], { polled: true, inPlace: true, inlineBytes: 128 });
  const at: number[] = [];
  for (const [i, length] of [1, 63, 64, 65, 127, 128].entries()) {
    const bytes = content(i + 1, length);
    if (i % 2 === 0) {
      outbox.trySend(bytes);
    } else {
      const reservation = outbox.tryReserve(length)!;
      at.push(reservation.offset);
      reservation.bytes.set(bytes);
      reservation.commit();
    }
  }
  t.ok(
    at.every((offset) => offset % 192 === 64),
    `built behind their descriptors: ${at}`,
  );
  await poller.until(() => poller.count('p') === 6, 'they are there');
  t.equal(poller.inbox.status().heldBytes, 0);
  outbox.trySend(content(7, 129));
  await poller.until(() => poller.count('p') === 7, 'one that is too long is there');
  t.equal(poller.inbox.status().heldBytes, 192, 'and lies in the data ring');
  t.equal(postedBy(outbox).sendsPosted, 0);
  await outbox.close();
  await poller.close(t);
});

void t.test('a place in a slot that is given up, left empty, or filled in part keeps the order', async (t) => {
  const poller = await Poller.open();
  const lengths: number[] = [];
  const visit = (lane: Lane) => {
    lengths.push(lane.length);
    if (lane.length > 0) t.equal(lane.data[lane.offset], lane.length);
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  };
  const outbox = await openOutbox(poller.inbox, { slots: 4 });
  const fill = (size: number, length: number) => {
    const place = outbox.tryReserve(size)!;
    if (length > 0) place.bytes.fill(length);
    if (length < 0) place.abort();
    else place.commit(length);
  };
  const expected: number[] = [];
  for (let round = 0; round < 12; round++) {
    for (const [size, length] of [
      [64, 64],
      [64, -1],
      [40, 0],
      [64, 7],
      [2000, 3],
      [0, 0],
    ] as const) {
      await until('there is room', () => {
        poller.inbox.poll(visit);
        return outbox.unacknowledged === 0;
      });
      fill(size, length);
      if (length >= 0) expected.push(length);
    }
  }
  await until('all are acknowledged', () => {
    poller.inbox.poll(visit);
    return outbox.unacknowledged === 0;
  });
  t.strictSame(lengths, expected);
  await outbox.close();
  await poller.close(t);
});

void t.test('short messages that were built in their slots come once more after their lane was lost', async (t) => {
  const poller = await Poller.open();
  const outbox = await openOutbox(poller.inbox, { name: 'p', slots: 4 });
  const held: Lane[] = [];
  for (let i = 1; i <= 4; i++) {
    const place = outbox.tryReserve(30)!;
    place.bytes.set(content(i, 30));
    place.commit();
  }
  // Released and not acknowledged: their producer brings them home.
  poller.inbox.poll((lane) => {
    held.push(lane);
    lane.release(lane.sequence);
  });
  t.equal(held.length, 4);
  await until('they are at home', () => {
    poller.inbox.poll(() => t.fail('there is no other message'));
    return outbox.counters.spilled === 4;
  });
  const place = outbox.tryReserve(30)!;
  place.bytes.set(content(5, 30));
  place.commit();
  const { port } = poller.inbox.bootstrap;
  await poller.inbox.close();
  // Another inbox takes its place, and has got nothing.
  const again = await Poller.open({ port });
  await again.until(() => again.count('p') === 5, 'all five are there');
  await outbox.close();
  await again.close(t);
});

void t.test('with checksums short messages lie in the data ring, where theirs is checked', async (t) => {
  const poller = await Poller.open();
  poller.holds = true;
  const outbox = await openOutbox(poller.inbox, { name: 'p', checksum: true });
  outbox.trySend(content(1, 40));
  await poller.until(() => poller.count('p') === 1, 'it is there');
  t.equal(poller.inbox.status().heldBytes, 64);
  await outbox.close();
  await poller.close(t);
});

void t.test('a short message is not there before its sequence is', async (t) => {
  const poller = await Poller.open();
  const raw = await RawProducer.connect(poller.inbox, { inPlace: true, inlineBytes: 64 });
  for (let sequence = 1; sequence <= 20; sequence++) {
    raw.storeShort(content(sequence, 50), {}, false);
    for (let i = 0; i < 50; i++) poller.poll();
    t.equal(poller.count('raw'), sequence - 1, 'without its sequence it is not there');
    raw.showShort();
    await poller.until(() => poller.count('raw') === sequence, 'and with it, it is');
  }
  raw.close();
  await poller.until(() => poller.inbox.laneCount === 0, 'it is gone');
  await poller.close(t);
});

const { SHORT, INLINE, PAYLOAD_CRC } = DescriptorFlags;
const shortCrimes: Record<string, Record<number, number>> = {
  'another epoch': { 0: 77 },
  'another kind': { 1: 2 | (SHORT << 16) },
  'flags beside it': { 1: 1 | ((SHORT | INLINE) << 16) },
  'a checksum that is not there': { 1: 1 | ((SHORT | PAYLOAD_CRC) << 16) },
  'a sequence beyond 2^32': { 3: 1 },
  'no length': { 6: 0 },
  'more than there is room for': { 6: 65 },
  'a length beyond 2^31': { 6: 2 ** 32 - 1 },
};

void t.test('a wrong short message fences its lane at once and reaches nobody else', async (t) => {
  const poller = await Poller.open();
  const good = await openOutbox(poller.inbox, { name: 'good' });
  for (const [name, words] of Object.entries(shortCrimes)) {
    poller.events.length = 0;
    poller.got.delete('raw');
    const raw = await RawProducer.connect(poller.inbox, { inPlace: true, inlineBytes: 64 });
    raw.storeShort(content(1, 50));
    raw.storeShort(content(2, 50), words);
    await poller.until(() => poller.events.some(({ type }) => type === 'fenced'), `${name} is fenced`);
    t.match(poller.events.at(-1), { from: 'raw', reason: { code: 'RDMA_ERR_PROTOCOL' } }, name);
    t.equal(poller.count('raw'), 1, 'what was right before is delivered');
    raw.close();
    await good.send(content(good.sequence + 1, 50));
  }
  await poller.until(() => poller.count('good') === good.sequence, 'the good one is undisturbed');
  await good.close();
  await poller.close(t);
});

void t.test(
  'a short message where none may be fences the lane: without room, and in a lane that is written',
  async (t) => {
    const poller = await Poller.open();
    for (const offer of [
      { inPlace: true, inlineBytes: 0 },
      { inPlace: false, inlineBytes: 64 },
    ]) {
      poller.events.length = 0;
      const raw = await RawProducer.connect(poller.inbox, offer);
      t.ok(raw.answer.polled);
      const { words, slot } = raw.slotOf(content(1, 50), { flags: offer.inPlace ? SHORT : SHORT | INLINE });
      await raw.show(slot, words);
      await poller.until(() => poller.events.some(({ type }) => type === 'fenced'), 'it is fenced');
      t.match(poller.events.at(-1), { from: 'raw', reason: { code: 'RDMA_ERR_PROTOCOL' } });
      raw.close();
    }
    await poller.close(t);
  },
);

void t.test('short messages beyond the credit fence the lane', async (t) => {
  const poller = await Poller.open();
  poller.holds = true;
  const raw = await RawProducer.connect(poller.inbox, { inPlace: true, inlineBytes: 64 });
  for (let i = 1; i <= 9; i++) {
    raw.storeShort(content(i, 50));
    poller.poll();
  }
  await poller.until(() => poller.events.some(({ type }) => type === 'fenced'), 'it is fenced');
  t.match(poller.events.at(-1), { reason: { code: 'RDMA_ERR_PROTOCOL' } });
  t.equal(poller.count('raw'), 8);
  raw.close();
  await poller.close(t);
});

void t.test('more than the credit, and an announcement that nobody makes here, fence the lane', async (t) => {
  const poller = await Poller.open();
  poller.holds = true;
  const acts: Record<string, (raw: RawProducer) => void> = {
    'a message too many': (raw) => {
      for (let i = 1; i <= 9; i++) {
        raw.store(content(i, 8));
        poller.poll();
      }
    },
    'bytes over what is held': (raw) => {
      for (let i = 1; i <= 3; i++) raw.store(content(i, 1400));
    },
    'an immediate': (raw) => raw.write(content(1, 8), { imm: laneImm(raw.answer.lane, 1) }),
  };
  for (const [name, act] of Object.entries(acts)) {
    poller.events.length = 0;
    poller.got.clear();
    const raw = await RawProducer.connect(poller.inbox, { inPlace: true });
    act(raw);
    await poller.until(() => poller.events.some(({ type }) => type === 'fenced'), `${name} is fenced`);
    t.match(poller.events.at(-1), { from: 'raw', reason: { code: 'RDMA_ERR_PROTOCOL' } }, name);
    raw.close();
  }
  await poller.close(t);
});

void t.test('an inbox that polls what it has not let map is not believed', async (t) => {
  const raw = await RawConsumer.listen();
  raw.wrong = { polled: true };
  t.equal(await codeOf(openOutbox(raw.bootstrap, { reconnectMs: 0 })), 'RDMA_ERR_PROTOCOL');
  // Nor one that has room for short messages in a lane that is mapped, and does not look there.
  raw.wrong = { inPlace: true, inlineBytes: 64 };
  t.equal(await codeOf(openOutbox(raw.bootstrap, { reconnectMs: 0 })), 'RDMA_ERR_PROTOCOL');
  await raw.close();
});
