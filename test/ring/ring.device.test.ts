// Proves the protocol on whatever device is named, between two processes: content, wraps, back-pressure, a lane that is
// lost, a producer that is killed, writes outside of the lane. Small enough for soft-RoCE in a virtual machine.
import t from 'tap';
import type { InboxMessage, LaneEvent } from '../../src/ts/ring/index.js';
import { Device } from '../../src/ts/verbs/index.js';
import { Collector } from './collector.js';
import { RawProducer } from './raw-producer.js';
import {
  breakConnection,
  codeOf,
  content,
  DEVICE,
  hasContent,
  openInbox,
  openOutbox,
  random,
  start,
  until,
} from './support.js';

/** JavaScript is many times slower in the virtual machine that has soft-RoCE. */
const MESSAGES = DEVICE === 'soft0' ? 400 : 160;

void t.test('another process sends through many wraps of its rings, with a consumer that is slower', async (t) => {
  const collector = new Collector();
  const held: InboxMessage[] = [];
  const pick = random(4242);
  const inbox = await openInbox({
    maxLanes: 4,
    maxSlots: 8,
    maxDataBytes: 8192,
    onMessage: (message) => {
      collector.take(message);
      held.push(message);
      // In any order: space still goes back in order. Never more than the lane, or nobody would come again.
      while (held.length > 4 || (held.length > 0 && pick(2) === 0)) held.splice(pick(held.length), 1)[0]?.done();
      if (message.laneHeldMessages >= message.laneSlots / 2) for (const old of held.splice(0)) old.done();
      setImmediate(() => {
        for (const old of held.splice(0)) old.done();
      });
    },
  });
  const { port } = inbox.bootstrap;
  const child = start('producer-main', { port, name: 'p', messages: MESSAGES, salt: 3, slots: 32, dataBytes: 16384 });
  t.match(await child.hear('done'), { messages: MESSAGES, resent: 0, connects: 1 });
  t.equal(collector.count('p'), MESSAGES);
  t.strictSame(collector.problems, []);
  t.match(await child.exited, { code: 0 });
  await until('the lane is fenced', () => inbox.laneCount === 0);
  await inbox.close();
});

void t.test('a producer that is killed frees its lane, and the next one uses it', async (t) => {
  const collector = new Collector();
  const events: LaneEvent[] = [];
  const inbox = await openInbox({
    maxLanes: 1,
    onLane: (event) => events.push(event),
    onMessage: (message) => {
      collector.take(message);
      message.done();
      if (message.from === 'victim' && message.sequence === 30) victim.process.kill('SIGKILL');
    },
  });
  const { port } = inbox.bootstrap;
  const victim = start('producer-main', { port, name: 'victim', messages: 1e6, salt: 1 });
  t.match(await victim.exited, { signal: 'SIGKILL' });
  await until('its lane is fenced', () => events.some((event) => event.type === 'fenced'));
  const next = start('producer-main', { port, name: 'next', messages: 60, salt: 2 });
  t.match(await next.hear('done'), { messages: 60 });
  t.equal(collector.count('next'), 60);
  t.strictSame(collector.problems, []);
  await next.exited;
  await inbox.close();
});

void t.test('after a lost connection everything comes once, and nothing stays on the device', async (t) => {
  using device = Device.open(DEVICE);
  let right = 0;
  let last = 0;
  const inbox = await openInbox({
    device,
    maxLanes: 2,
    onMessage: (message) => {
      if (message.sequence === last + 1 && hasContent(message.bytes, message.sequence)) right++;
      last = message.sequence;
      message.done();
    },
  });
  const idle = device.ledger.handles.size;
  const outbox = await openOutbox(inbox, { device, slots: 4, dataBytes: 2048 });
  for (let i = 1; i <= 120; i++) {
    await outbox.send(content(i, (i * 331) % 2049), { timeoutMs: 20_000 });
    if (i % 30 === 0) breakConnection(outbox);
  }
  await outbox.whenAcknowledged(120, { timeoutMs: 20_000 });
  t.equal(right, 120);
  t.ok(outbox.counters.connects >= 4, `${outbox.counters.connects} connections`);
  await outbox.close();
  await until('the lane is fenced', () => inbox.laneCount === 0);
  t.equal(device.ledger.handles.size, idle);
  t.equal(inbox.counters.quarantined, 0);
  await inbox.close();
});

void t.test('without credit the sender waits; room comes back with the release', async (t) => {
  const held: InboxMessage[] = [];
  const inbox = await openInbox({ onMessage: (message) => held.push(message) });
  const outbox = await openOutbox(inbox, { slots: 2, dataBytes: 1024, retainMessages: 3 });
  for (let i = 1; i <= 3; i++) t.equal(outbox.trySend(content(i, 600)), i);
  await until('one fits', () => held.length === 1);
  t.equal(outbox.trySend(content(4, 1)), 0);
  t.equal(await codeOf(outbox.send(content(4, 1), { timeoutMs: 30 })), 'RDMA_ERR_TIMEOUT');
  const fourth = outbox.send(content(4, 1), { timeoutMs: 20_000 });
  for (let i = 1; i <= 4; i++) {
    await until(`message ${i} comes`, () => held.length > 0);
    const message = held.shift() as InboxMessage;
    t.ok(message.sequence === i && hasContent(message.bytes, i));
    message.done();
  }
  t.equal(await fourth, 4);
  await outbox.close();
  await inbox.close();
});

void t.test('a write with another address or key, and a wrong message, cost the writer its lane only', async (t) => {
  const events: LaneEvent[] = [];
  let right = 0;
  const inbox = await openInbox({
    maxLanes: 2,
    onLane: (event) => events.push(event),
    onMessage: (message) => {
      if (message.from === 'good' && hasContent(message.bytes, message.sequence)) right++;
      message.done();
    },
  });
  const good = await openOutbox(inbox, { name: 'good' });
  for (const crime of ['address', 'checksum', 'send'] as const) {
    events.length = 0;
    const raw = await RawProducer.connect(inbox);
    const { address, rkey } = raw.answer.memory;
    if (crime === 'address') t.not(await raw.writeTo(address - 64, rkey, new Uint8Array(64).fill(0xee)), 0);
    if (crime === 'checksum') raw.write(content(1, 10), { tamper: [12, 1] });
    if (crime === 'send') raw.send(0);
    if (crime === 'address') raw.channel.destroy();
    await until(`${crime} is fenced`, () => events.some((event) => event.type === 'fenced'));
    await good.send(content(good.sequence + 1, 500));
    raw.close();
  }
  await good.whenAcknowledged(3, { timeoutMs: 20_000 });
  t.equal(right, 3);
  await good.close();
  await inbox.close();
});
