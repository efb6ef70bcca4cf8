// Proves that everything can be closed at any moment, twice, in any order and from any handler; that nothing keeps a
// process alive after that; and that a process may end at any step.
import t from 'tap';
import type { Inbox, InboxMessage, Outbox } from '../../src/ts/ring/index.js';
import { Device } from '../../src/ts/verbs/index.js';
import { STEPS } from './lifecycle-main.js';
import { SEND_DEPTH } from '../../src/ts/ring/lane-memory.js';
import { RawProducer } from './raw-producer.js';
import { codeOf, content, DEVICE, openInbox, openOutbox, start, thrownCode, until } from './support.js';

const CLOSED = 'RDMA_ERR_CLOSED';

void t.test(
  'closed in any order, twice, at once and in the middle of sending: nothing stays on the device',
  async (t) => {
    using device = Device.open(DEVICE);
    const before = device.ledger.handles.size;
    const orders: ((inbox: Inbox, outbox: Outbox) => Promise<unknown>)[] = [
      async (inbox, outbox) => [await inbox.close(), await outbox.close()],
      async (inbox, outbox) => [await outbox.close(), await inbox.close()],
      (inbox, outbox) => Promise.all([inbox.close(), outbox.close(), inbox.close(), outbox.close()]),
      async (inbox, outbox) => {
        await Promise.all([outbox[Symbol.asyncDispose](), inbox[Symbol.asyncDispose]()]);
        await Promise.all([inbox.close(), outbox.close()]);
      },
    ];
    for (const [i, order] of orders.entries()) {
      const kept: InboxMessage[] = [];
      const inbox = await openInbox({ device, onMessage: (message) => kept.push(message) });
      const outbox = await openOutbox(inbox, { device });
      const sends: Promise<string | undefined>[] = [];
      for (let n = 1; n <= 100; n++) sends.push(codeOf(outbox.send(content(n, 300))));
      const acknowledged = codeOf(outbox.whenAcknowledged(1));
      await until('some have arrived', () => kept.length > i);
      t.equal(inbox.close(), inbox.close(), 'a second call answers the same');
      await order(inbox, outbox);
      const codes = new Set(await Promise.all(sends));
      t.strictSame(codes, new Set([undefined, CLOSED]), 'sends that were waiting end');
      t.equal(await acknowledged, CLOSED);
      t.ok(
        kept.every((message) => message.bytes.length === 0),
        'views of messages have length 0',
      );
      for (const message of kept) message.done();
      t.equal(
        thrownCode(() => outbox.trySend(content(1, 1))),
        CLOSED,
      );
      t.equal(await codeOf(outbox.send(content(1, 1))), CLOSED);
      t.equal(device.ledger.handles.size, before);
    }
  },
);

void t.test('close() from within a handler: no message is delivered after it', async (t) => {
  const got: number[] = [];
  const inbox = await openInbox({
    wait: 'busy',
  });
  const outbox = await openOutbox(inbox, { wait: 'busy' });
  for (let n = 1; n <= 8; n++) outbox.trySend(content(n, 100));
  let closing: Promise<void> | undefined;
  inbox.poll((lane) => {
    got.push(lane.sequence);
    closing = inbox.close();
  });
  await closing;
  t.strictSame(got, [1]);
  await outbox.close();

  const order: string[] = [];
  const second = await openInbox({
    onLane: (event) => {
      order.push(event.type);
      if (event.type === 'fenced') void second.close();
    },
    onMessage: (message) => message.done(),
  });
  const third: Outbox = await openOutbox(second, {
    onAcknowledged: () => void third.close(),
    onConnection: (event) => order.push(event.type),
  });
  await third.send(content(1, 10));
  await until('the lane has ended', () => order.includes('fenced'));
  await third.close();
  await second.close();
  t.notOk(order.includes('failed'), 'an end that was asked for is no failure');
});

void t.test('what was acknowledged before close() reaches the producer', async (t) => {
  for (let round = 0; round < 10; round++) {
    const inbox = await openInbox({
      onMessage: (message) => {
        message.done();
        if (message.sequence === 7) void inbox.close();
      },
    });
    const outbox = await openOutbox(inbox, { slots: 64 });
    for (let n = 1; n <= 7; n++) outbox.trySend(content(n, 10));
    await until('the inbox has gone', () => !outbox.connected);
    t.equal(outbox.acknowledged, 7);
    await outbox.close();
    await inbox.close();
  }
});

void t.test('the device is closed under both by its owner: errors, no crash', async (t) => {
  const device = Device.open(DEVICE);
  const kept: InboxMessage[] = [];
  const inbox = await openInbox({ device, onMessage: (message) => kept.push(message) });
  const outbox = await openOutbox(inbox, { device });
  const other = await openOutbox(inbox);
  await outbox.send(content(1, 10));
  await until('the message is there', () => kept.length === 1);
  device.close();
  t.equal(kept[0]?.bytes.length, 0);
  kept[0]?.done();
  await until('the other one finds out', () => !other.connected || other.trySend(content(1, 10)) === 0);
  t.match(await codeOf(openOutbox(inbox, { reconnectMs: 0 })), /^RDMA_ERR_/);
  await other.close();
  await outbox.close();
  await inbox.close();
});

void t.test('a device with a short completion queue: lanes share it, and it can never overrun', async (t) => {
  using device = Device.open(DEVICE);
  const attributes = device.attributes as { maxCqe: number };
  for (const maxCqe of [40, 60, 300]) {
    attributes.maxCqe = maxCqe;
    const inbox = await openInbox({ device, maxLanes: 4, maxSlots: 64 });
    const raws: RawProducer[] = [];
    for (let i = 0; i < 4; i++) raws.push(await RawProducer.connect(inbox, { slots: 64 }));
    const slots = raws.map((raw) => raw.answer.slots);
    const used = slots.reduce((sum, each) => sum + each + SEND_DEPTH, 0);
    t.ok(used <= maxCqe && Math.min(...slots) >= Math.min(16, maxCqe / 4 - SEND_DEPTH), `${maxCqe}: ${slots}`);
    raws[0]?.close();
    await until('a lane ends', () => inbox.laneCount === 3);
    raws[0] = await RawProducer.connect(inbox, { slots: 64 });
    t.equal(raws[0].answer.slots, slots[0], 'and gives its share back');
    for (const raw of raws) raw.close();
    await inbox.close();
  }
  attributes.maxCqe = 4;
  const inbox = await openInbox({ device, maxLanes: 1 });
  t.equal(await codeOf(RawProducer.connect(inbox)), 'RDMA_ERR_REFUSED', 'no room even for one slot');
  await inbox.close();
});

void t.test('a process may end at any step, and ends by itself when all is closed', async (t) => {
  await Promise.all(
    STEPS.map(async (step) => {
      const child = start('lifecycle-main', { step });
      child.process.disconnect();
      await until(`"${step}" ends`, () => child.process.exitCode !== null || child.process.signalCode !== null);
      t.strictSame([child.process.exitCode, child.process.signalCode], [0, null], step);
    }),
  );
});
