// Proves: what is awaited ends in every mode, also where nobody polls; and with `busy` nothing is polled for who awaits
// nothing.
import t from 'tap';
import type { Clock } from '../../src/ts/ring/port.js';
import { type InboxMessage, type Lane, Poller, type WaitMode } from '../../src/ts/ring/index.js';
import { SelfDrive } from '../../src/ts/ring/self-drive.js';
import { codeOf, content, hasContent, openInbox, openOutbox, until } from './support.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const MODES: { name: string; options: () => { wait?: WaitMode; poller?: Poller } }[] = [
  { name: 'busy', options: () => ({ wait: 'busy' }) },
  { name: 'adaptive', options: () => ({ wait: 'adaptive' }) },
  { name: 'event', options: () => ({ wait: 'event' }) },
  { name: 'a poller', options: () => ({ poller: new Poller() }) },
];

for (const { name, options } of MODES) {
  void t.test(`${name}: send, reserve, whenPublished and whenAcknowledged end by themselves`, async (t) => {
    let good = 0;
    const inbox = await openInbox({
      onMessage: (message) => {
        if (hasContent(message.bytes, message.sequence)) good++;
        message.done();
      },
    });
    const outbox = await openOutbox(inbox, { slots: 4, dataBytes: 1024, retainMessages: 8, ...options() });
    const limits = { timeoutMs: 10_000 };
    for (let i = 1; i <= 200; i++) {
      if (i % 2 === 0) {
        await outbox.send(content(i, i), limits);
      } else {
        const place = await outbox.reserve(i, limits);
        place.bytes.set(content(i, i));
        place.commit();
      }
      if (i % 50 === 0) await outbox.whenPublished(i, limits);
    }
    await outbox.whenAcknowledged(200, limits);
    t.equal(good, 200);
    await outbox.close();
    await inbox.close();
  });

  void t.test(
    `${name}: the iterator of an inbox gets its messages, and what it acknowledges is reported`,
    async (t) => {
      const inbox = await openInbox({ maxSlots: 4, ...options() });
      const outbox = await openOutbox(inbox, { slots: 4, retainMessages: 4 });
      const sending = (async () => {
        for (let i = 1; i <= 100; i++) await outbox.send(content(i, 10), { timeoutMs: 10_000 });
      })();
      let good = 0;
      for await (const message of inbox) {
        if (hasContent(message.bytes, message.sequence)) good++;
        message.done();
        if (message.sequence === 100) break;
      }
      await sending;
      t.equal(good, 100);
      await outbox.close();
      await inbox.close();
    },
  );

  void t.test(`${name}: pull() and drain() end by themselves`, async (t) => {
    const inbox = await openInbox({ maxPullBytes: 2 ** 20, ...options() });
    const outbox = await openOutbox(inbox);
    await outbox.send(content(1, 300_000));
    let message: InboxMessage | undefined;
    for await (const one of inbox) {
      message = one;
      break;
    }
    t.ok(hasContent(await message!.pull(undefined, { timeoutMs: 10_000 }), 1));
    message!.done();
    const drained = inbox.drain(10_000);
    await outbox.whenAcknowledged(1, { timeoutMs: 10_000 });
    await drained;
    t.throws(() => inbox.bootstrap, { code: 'RDMA_ERR_CLOSED' });
    await outbox.close();
  });
}

void t.test('busy: drain() shows what comes to the visitor of the last poll', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { slots: 4 });
  const seen: number[] = [];
  const visit = (lane: Lane) => {
    seen.push(lane.sequence);
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  };
  inbox.poll(visit);
  for (let i = 0; i < 4; i++) outbox.trySend(content(i, 10));
  await inbox.drain(10_000);
  t.same(seen, [1, 2, 3, 4]);
  await outbox.close();
});

void t.test('busy: for who awaits nothing nothing is polled', async (t) => {
  const inbox = await openInbox({ onMessage: (message) => message.done() });
  const outbox = await openOutbox(inbox, { wait: 'busy', slots: 4, retainMessages: 4 });
  while (outbox.trySend(content(1, 10)) > 0);
  await until('they are there', () => inbox.counters.messages === 4);
  for (let i = 0; i < 50; i++) await turn();
  t.equal(outbox.acknowledged, 0);
  const controller = new AbortController();
  const sending = codeOf(outbox.send(content(5, 10), { signal: controller.signal }));
  t.equal(await sending, undefined, 'who awaits is driven');
  t.equal(outbox.acknowledged, 4);
  while (outbox.trySend(content(1, 10)) > 0);
  const { acknowledged } = outbox;
  await until('they are there', () => inbox.counters.messages === outbox.sequence);
  for (let i = 0; i < 50; i++) await turn();
  t.equal(outbox.acknowledged, acknowledged, 'and after it nothing is polled again');
  await outbox.close();
  await inbox.close();
});

void t.test('busy: who awaits while the inbox is away goes on when it is back, and time-outs hold', async (t) => {
  const first = await openInbox();
  const { port } = first.bootstrap;
  const outbox = await openOutbox(first, { wait: 'busy', slots: 4, retainMessages: 4 });
  while (outbox.trySend(content(1, 10)) > 0);
  t.equal(await codeOf(outbox.send(content(1, 10), { timeoutMs: 50 })), 'RDMA_ERR_TIMEOUT');
  t.equal(await codeOf(outbox.whenAcknowledged(4, { timeoutMs: 50 })), 'RDMA_ERR_TIMEOUT');
  const waiting = outbox.send(content(1, 10), { timeoutMs: 20_000 });
  await first.close();
  await until('it is away', () => !outbox.connected);
  const second = await openInbox({ port, onMessage: (message) => message.done() });
  t.equal(await waiting, 5);
  await outbox.close();
  await second.close();
});

void t.test('it looks in each turn, then once a millisecond, and stops when nobody awaits', async (t) => {
  let turns: (() => void)[] = [];
  let timers: (() => void)[] = [];
  const clock: Clock = {
    now: () => 0,
    soon: (call) => void turns.push(call),
    after: (_, call) => {
      timers.push(call);
      return () => {};
    },
  };
  let awaited = true;
  let polls = 0;
  let found = 0;
  let bug = false;
  const drive = new SelfDrive(clock, {
    isAwaited: () => awaited,
    poll: () => {
      polls++;
      if (bug) throw new Error('of a callback');
      return found;
    },
  });
  const run = (queue: 'turns' | 'timers') => {
    const due = queue === 'turns' ? turns : timers;
    if (queue === 'turns') turns = [];
    else timers = [];
    for (const call of due) call();
  };
  drive.start();
  drive.start();
  t.equal(turns.length, 1, 'once, and not at once');
  t.equal(polls, 0);
  for (let i = 0; turns.length > 0 && i < 1000; i++) run('turns');
  t.equal(polls, 100);
  t.equal(timers.length, 1);
  found = 1;
  run('timers');
  t.same([turns.length, timers.length], [1, 0], 'something was there: it looks in each turn again');
  bug = true;
  t.throws(() => run('turns'), { message: 'of a callback' });
  t.equal(turns.length, 1, 'an error propagates, and it goes on');
  awaited = false;
  run('turns');
  t.same([turns.length, timers.length], [0, 0]);
  awaited = true;
  bug = false;
  drive.start();
  t.equal(turns.length, 1, 'and begins again');
});
