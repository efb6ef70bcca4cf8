// Proves the ways to wait: the three modes, the iterator, back-pressure with time-outs and aborts; and that the loop
// form allocates nothing.
import t from 'tap';
import type { InboxMessage, WaitMode } from '../../src/ts/ring/index.js';
import type { Lane } from '../../src/ts/ring/lane.js';
import { collect, heapBytes } from '../garbage.js';
import { codeOf, content, hasContent, openInbox, openOutbox, until } from './support.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

for (const wait of ['adaptive', 'event'] as const satisfies WaitMode[]) {
  void t.test(`${wait}: messages come by themselves, also after a pause`, async (t) => {
    let good = 0;
    const inbox = await openInbox({
      wait,
      onMessage: (message) => {
        if (hasContent(message.bytes, message.sequence)) good++;
        message.done();
      },
    });
    const outbox = await openOutbox(inbox, { wait });
    for (let i = 1; i <= 300; i++) {
      await outbox.send(content(i, (i * 37) % 4097));
      if (i % 50 === 0) await outbox.whenAcknowledged(i, { timeoutMs: 5000 });
    }
    await outbox.whenAcknowledged();
    t.equal(good, 300);
    await outbox.close();
    await inbox.close();
  });
}

void t.test('busy: nothing happens unless one polls, everything when both do', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { wait: 'busy' });
  outbox.trySend(content(1, 10));
  for (let i = 0; i < 20; i++) await turn();
  t.equal(inbox.counters.messages, 0);
  let good = 0;
  const visit = (lane: Lane) => {
    if (hasContent(lane.data.subarray(lane.offset, lane.offset + lane.length), lane.sequence)) good++;
    // Nobody comes in again from here.
    if (inbox.poll(visit) !== 0) t.fail('a poll within a poll');
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  };
  for (let polls = 0; outbox.acknowledged < 1000 && polls < 10 ** 6; polls++) {
    const next = outbox.sequence + 1;
    if (next <= 1000) outbox.trySend(content(next, next % 300));
    inbox.poll(visit);
    outbox.poll();
    if (polls % 512 === 0) await turn();
  }
  t.equal(good, 1000);
  await outbox.close();
  await inbox.close();
  t.throws(() => inbox.poll(visit), { code: 'RDMA_ERR_CLOSED' });
});

void t.test('the iterator gives every message in order, and ends with the inbox', async (t) => {
  const inbox = await openInbox();
  const outbox = await openOutbox(inbox);
  const got: number[] = [];
  const reader = (async () => {
    for await (const message of inbox) {
      got.push(message.sequence);
      if (!hasContent(message.bytes, message.sequence)) t.fail('other bytes');
      message.done();
    }
  })();
  for (let i = 1; i <= 100; i++) await outbox.send(content(i, i));
  await outbox.whenAcknowledged(100, { timeoutMs: 5000 });
  t.strictSame(
    got,
    Array.from({ length: 100 }, (_, i) => i + 1),
  );
  await outbox.close();
  await inbox.close();
  await reader;
  const withHandler = await openInbox({ onMessage: () => {} });
  t.throws(() => withHandler[Symbol.asyncIterator](), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  await withHandler.close();
});

void t.test('without credit a sender waits, and can give up; other lanes go on; release lets it go on', async (t) => {
  const held: InboxMessage[] = [];
  const inbox = await openInbox({
    onMessage: (message) => {
      if (message.from === 'stuck') held.push(message);
      else message.done();
    },
  });
  const stuck = await openOutbox(inbox, { name: 'stuck', slots: 4, retainMessages: 6 });
  for (let i = 1; i <= 6; i++) t.equal(stuck.trySend(content(i, 50)), i);
  t.equal(stuck.trySend(content(7, 50)), 0, 'there is no room');
  await until('the lane is full', () => held.length === 4);
  t.equal(await codeOf(stuck.send(content(7, 50), { timeoutMs: 20 })), 'RDMA_ERR_TIMEOUT');
  const abort = new AbortController();
  const aborted = codeOf(stuck.send(content(7, 50), { signal: abort.signal }));
  abort.abort();
  t.equal(await aborted, 'RDMA_ERR_ABORTED');
  t.equal(await codeOf(stuck.send(content(7, 50), { signal: AbortSignal.abort() })), 'RDMA_ERR_ABORTED');
  t.equal(await codeOf(stuck.whenAcknowledged(1, { timeoutMs: 20 })), 'RDMA_ERR_TIMEOUT');
  t.ok(stuck.counters.stalls >= 2, 'and it is counted');

  const free = await openOutbox(inbox, { name: 'free', slots: 4 });
  for (let i = 1; i <= 200; i++) await free.send(content(i, 50));
  await free.whenAcknowledged(200, { timeoutMs: 5000 });
  t.equal(held.length, 4, 'and the stuck one did not move');

  const waiting = [7, 8, 9].map((i) => stuck.send(content(i, 50)));
  for (const message of held.splice(0)) message.release();
  await until('space came back', () => held.length === 2);
  t.equal(stuck.unacknowledged, 6, 'custody did not: released is not acknowledged');
  let next = 5;
  while (next <= 9) {
    await until('the next message comes', () => held.length > 0);
    const message = held.shift() as InboxMessage;
    t.equal(message.sequence, next++);
    t.ok(hasContent(message.bytes, message.sequence));
    message.release();
    for (let i = 1; i <= message.sequence; i++) Reflect.get(message, 'lane').acknowledge(i);
  }
  t.strictSame(await Promise.all(waiting), [7, 8, 9], 'in the order of the calls');
  await stuck.whenAcknowledged(9, { timeoutMs: 5000 });
  for (const outbox of [stuck, free]) await outbox.close();
  await inbox.close();
});

void t.test('the loop form allocates nothing for a message: 200 000 of them', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { wait: 'busy', slots: 64, dataBytes: 65536 });
  const bytes = content(1, 100);
  let count = 0;
  const visit = (lane: Lane) => {
    count++;
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  };
  // What the heap grew by while the inbox was polled, without what looking at the heap costs.
  const spin = async (messages: number) => {
    const end = count + messages;
    let grown = 0;
    for (let i = 0; count < end; i++) {
      for (let k = 0; k < 32; k++) outbox.trySend(bytes);
      const first = heapBytes();
      const second = heapBytes();
      inbox.poll(visit);
      const third = heapBytes();
      if (second > first) grown += Math.max(0, third - second - (second - first));
      outbox.poll();
      if (i % 256 === 0) await turn();
    }
    return grown;
  };
  await spin(50_000);
  collect();
  const before = process.memoryUsage().heapUsed;
  const grown = await spin(200_000);
  t.ok(grown / 200_000 < 16, `${(grown / 200_000).toFixed(1)} bytes for a message; the smallest object has 16`);
  collect();
  const kept = process.memoryUsage().heapUsed - before;
  t.ok(kept < 512 * 1024, `${kept} bytes are kept`);
  await outbox.close();
  await inbox.close();
});
