// Proves that an inbox can be taken out of service without losing anything: it delivers what was sent to it, and the
// rest goes to the next one; and that operators see what is going on.
import t from 'tap';
import { type InboxMessage, Outbox } from '../../src/ts/ring/index.js';
import { codeOf, content, DEVICE, hasContent, openInbox, openOutbox, SECRET, until } from './support.js';

void t.test('an inbox drains: what it got it acknowledges, what comes later goes to the next one', async (t) => {
  const first: InboxMessage[] = [];
  const second: InboxMessage[] = [];
  const a = await openInbox({ onMessage: (message) => first.push(message) });
  const b = await openInbox({ onMessage: (message) => second.push(message) });
  let to = a.bootstrap;
  const events: string[] = [];
  const outbox = await Outbox.connect({
    to: () => to,
    secret: SECRET,
    device: DEVICE,
    slots: 4,
    dataBytes: 4096,
    onConnection: ({ type }) => events.push(type),
  });
  for (let n = 1; n <= 10; n++) await outbox.send(content(n, 100)); // four in the lane, six wait
  await until('the lane is full', () => first.length === 4);
  to = b.bootstrap;
  const drained = a.drain();
  t.equal(a.drain(), drained);
  t.equal(await codeOf(openOutbox(a, { reconnectMs: 0 })), 'RDMA_ERR_BUSY', 'it takes nobody new');
  t.ok(a.status().draining);
  await until('the producer knows', () => outbox.status().draining);
  for (const message of first) message.done();
  await drained;
  t.equal(first.length, 4, 'nothing came after it');
  await until('the next one gets the rest', () => second.length === 4);
  for (let n = 0; second.length < 6 || n < second.length; ) {
    await until('more comes', () => second.length > n);
    second[n++]!.done();
  }
  await outbox.whenAcknowledged();
  t.strictSame(
    [...first, ...second].map((message) => message.sequence),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
  t.ok(second.every((message) => message.bytes.length === 100));
  t.strictSame(events, ['open', 'draining', 'lost', 'open']);
  t.equal(outbox.counters.resent, 0, 'nothing was written twice');
  await outbox.close();
  await b.close();
});

void t.test(
  'draining ends by itself without producers, after its time with one that never ends, and with close()',
  async (t) => {
    await (await openInbox()).drain();
    const slow = await openInbox({ onMessage: () => {} });
    const outbox = await openOutbox(slow, { reconnectMs: 0 });
    await outbox.send(content(1, 10));
    const began = performance.now();
    await slow.drain(100);
    t.ok(performance.now() - began < 5000);
    t.equal(outbox.acknowledged, 0, 'what was not acknowledged is still with its producer');
    await outbox.close();
    const closed = await openInbox({ onMessage: () => {} });
    const other = await openOutbox(closed);
    await other.send(content(1, 10));
    const draining = closed.drain();
    await closed.close();
    await draining;
    await other.close();
    const inbox = await openInbox();
    t.throws(() => inbox.drain(0), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
    await inbox.close();
  },
);

void t.test('operators see depth, bytes, ages and causes, per lane and in sum', async (t) => {
  const held: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => held.push(message) });
  const one = await openOutbox(inbox, { name: 'one', slots: 2 });
  const two = await openOutbox(inbox, { name: 'two', slots: 4 });
  t.equal(inbox.status().oldestUnacknowledgedMs, 0);
  for (let n = 1; n <= 4; n++) await one.send(content(n, 100));
  await two.send(content(1, 1000));
  await until('they are there', () => held.length === 3);
  await new Promise((resolve) => setTimeout(resolve, 30));
  const status = inbox.status();
  t.match(status, {
    draining: false,
    endedLanes: 0,
    heldMessages: 3,
    unacknowledgedMessages: 3,
    heldBytes: 2 * 128 + 1024,
    counters: { messages: 3, bytes: 1200, lanesOpened: 2, fences: 0 },
  });
  t.ok(status.oldestUnacknowledgedMs >= 25 && status.oldestUnacknowledgedMs < 20_000);
  const lane = status.lanes.find(({ from }) => from === 'one');
  const slotBytes = 64 + lane!.inlineBytes;
  t.equal(
    lane!.inlineBytes,
    DEVICE === 'soft0' ? 0 : 64,
    'where lanes are mapped and not polled there is nothing to gain',
  );
  t.match(lane, {
    slots: 2,
    dataBytes: 4096,
    memoryBytes: 2 * slotBytes + 4096 + 64,
    heldMessages: 2,
    messages: 2,
    epoch: 1,
  });
  t.equal(status.memoryBytes, 6 * slotBytes + 2 * (4096 + 64));
  const outgoing = one.status();
  t.match(outgoing, {
    connected: true,
    sequence: 4,
    published: 2,
    acknowledged: 0,
    unacknowledgedMessages: 4,
    laneMessages: 2,
    laneSlots: 2,
    stalledBy: 'slots',
  });
  t.ok(outgoing.oldestUnacknowledgedMs >= 25);
  await one.whenPublished(2);
  t.equal(await codeOf(one.whenPublished(3, { timeoutMs: 10 })), 'RDMA_ERR_TIMEOUT');
  const later = one.whenPublished(4);
  for (let n = 0; n < 5; n++) {
    await until('more comes', () => held.length > n);
    if (!hasContent(held[n]!.bytes, held[n]!.sequence)) t.fail('other bytes');
    held[n]!.done();
  }
  await later;
  await one.whenAcknowledged();
  await two.whenAcknowledged();
  t.match(one.status(), { unacknowledgedMessages: 0, unacknowledgedBytes: 0, oldestUnacknowledgedMs: 0 });
  t.match(inbox.status(), { heldMessages: 0, unacknowledgedMessages: 0, oldestUnacknowledgedMs: 0 });
  await one.close();
  await two.close();
  await inbox.close();
});
