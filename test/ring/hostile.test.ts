// Proves that a producer that knows the secret and breaks the protocol loses its lane, is reported, and reaches nobody
// else: not the process, not another lane, not memory that was given away.
import t from 'tap';
import { connectBootstrap } from '../../src/ts/connect/index.js';
import type { Inbox, InboxMessage, LaneEvent, Outbox } from '../../src/ts/ring/index.js';
import { laneImm } from '../../src/ts/ring/layout.js';
import { CompletionStatus } from '../../src/ts/verbs/index.js';
import { RawProducer, type Wrong } from './raw-producer.js';
import { codeOf, content, hasContent, openInbox, openOutbox, SECRET, until } from './support.js';

interface Scene {
  inbox: Inbox;
  good: Outbox;
  events: LaneEvent[];
  /** Of the raw producer, still held. */
  held: InboxMessage[];
  /** The good producer sends, and all of it is delivered right. */
  others(): Promise<void>;
  close(): Promise<void>;
}

async function scene(): Promise<Scene> {
  const events: LaneEvent[] = [];
  const held: InboxMessage[] = [];
  let right = 0;
  const inbox = await openInbox({
    onLane: (event) => events.push(event),
    onMessage: (message) => {
      if (message.from === 'raw') {
        held.push(message);
        return;
      }
      if (hasContent(message.bytes, message.sequence)) right++;
      message.done();
    },
  });
  const good = await openOutbox(inbox, { name: 'good' });
  const others = async () => {
    const until = good.sequence + 20;
    while (good.sequence < until) await good.send(content(good.sequence + 1, 700));
    await good.whenAcknowledged(until, { timeoutMs: 5000 });
    if (right !== until || good.counters.resent > 0) throw new Error('the good producer was disturbed');
  };
  const close = async () => {
    await good.close();
    await inbox.close();
  };
  return { inbox, good, events, held, others, close };
}

const crimes: Record<string, Wrong> = {
  'a sequence left out': { sequence: 3 },
  'a sequence again': { sequence: 1 },
  'a sequence beyond 2^53': { tamper: [3, 2 ** 31] },
  'a bad checksum': { tamper: [12, 1] },
  'a changed word': { tamper: [6, 1] },
  'another epoch': { epoch: 77 },
  'an offset out of place': { offset: 192 },
  'an offset outside the ring': { offset: 2 ** 32 - 64 },
  'a length beyond the ring': { length: 4097 },
  'a length that reaches over the end': { length: 4096 },
  'a length of 2^32 - 1': { length: 2 ** 32 - 1 },
  'the lane of another in the immediate': { imm: laneImm(0, 1) },
  'a lane that does not exist': { imm: laneImm(0xfffff, 1) },
  'no messages in the immediate': { imm: laneImm(1, 0) },
  'more messages than there are': { imm: laneImm(1, 4095) },
};

void t.test('a wrong message fences its lane, is reported, and disturbs nobody', async (t) => {
  const { inbox, events, held, others, close } = await scene();
  for (const [name, wrong] of Object.entries(crimes)) {
    events.length = 0;
    held.length = 0;
    const raw = await RawProducer.connect(inbox);
    t.equal(raw.answer.lane, 1, 'so that the immediates are what they are called');
    raw.write(content(1, 100));
    raw.write(content(2, 100), wrong);
    await until(`${name} is fenced`, () => events.some((event) => event.type === 'fenced'));
    const event = events.find(({ type }) => type === 'fenced');
    t.match(event, { from: 'raw', reason: { code: 'RDMA_ERR_PROTOCOL' } }, name);
    const expected = name === 'more messages than there are' ? 2 : 1;
    t.equal(held.length, expected, 'what was right before is delivered');
    for (const message of held) t.ok(hasContent(message.bytes, message.sequence));
    t.equal(inbox.laneCount, 1);
    await others();
    for (const message of held) message.done();
    raw.close();
  }
  await close();
});

void t.test('more than the credit, SENDs, and nonsense over TCP fence the lane', async (t) => {
  const { inbox, events, others, close } = await scene();
  const acts: Record<string, (raw: RawProducer) => void> = {
    'a message too many': (raw) => {
      for (let i = 1; i <= 9; i++) raw.write(content(i, 8));
    },
    'bytes over what is held': (raw) => {
      for (let i = 1; i <= 3; i++) raw.write(content(i, 1400));
    },
    'a SEND of nothing': (raw) => raw.send(0),
    'a SEND of bytes': (raw) => raw.send(100),
    'a wrong word over TCP': (raw) => raw.channel.send({ type: 'more' }),
    'an end without a word': (raw) => raw.channel.destroy(),
  };
  for (const [name, act] of Object.entries(acts)) {
    events.length = 0;
    const raw = await RawProducer.connect(inbox);
    act(raw);
    await until(`${name} is fenced`, () => events.some((event) => event.type === 'fenced'));
    t.match(events.at(-1), { type: 'fenced', from: 'raw', reason: { code: /^RDMA_ERR_/ } }, name);
    await others();
    raw.close();
  }
  t.equal(inbox.laneCount, 1);
  await close();
});

void t.test(
  'a producer that never reads its credits stalls nobody, and close() does not wait for it for long',
  async (t) => {
    const { inbox, held, others, good } = await scene();
    const raw = await RawProducer.connect(inbox);
    // One report for each message, until its 64 receives are used up and the reports stand still.
    for (let i = 1; i <= 100; i++) {
      raw.write(content(i, 8));
      await until(`message ${i} is there`, () => held.length === 1);
      held.pop()?.done();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const reports = inbox.status().lanes.find(({ from }) => from === 'raw')?.reports;
    t.equal(reports, 65, 'one report is in the queue, and no more are made');
    await others();
    const began = performance.now();
    await good.close();
    await inbox.close();
    t.ok(performance.now() - began < 5000);
    raw.close();
  },
);

void t.test('writes outside of the lane fail and change nothing', async (t) => {
  const { inbox, others, events, close } = await scene();
  for (const miss of ['before', 'behind', 'key'] as const) {
    events.length = 0;
    const raw = await RawProducer.connect(inbox);
    const { address, rkey } = raw.answer.memory;
    // Descriptors, data, and the block from which the producer's own reports are written.
    const bytes = raw.answer.slots * 64 + raw.answer.dataBytes + 64;
    const at = miss === 'before' ? address - 8 : miss === 'behind' ? address + bytes - 8 : address;
    const key = miss === 'key' ? (rkey ^ 0x10000) >>> 0 : rkey;
    const status = await raw.writeTo(at, key, new Uint8Array(64).fill(0xee));
    t.equal(status, CompletionStatus.REMOTE_ACCESS_ERROR, miss);
    await others();
    raw.close();
    await until('the lane is fenced', () => events.some((event) => event.type === 'fenced'));
  }
  await close();
});

void t.test('a late writer cannot write into a lane that was fenced, nor into the one that came after', async (t) => {
  const { inbox, events, held, others, close } = await scene();
  const producer = 'ab'.repeat(16);
  const old = await RawProducer.connect(inbox, { producer });
  old.write(content(1, 4000));
  await until('the first message is there', () => held.length === 1);
  const fresh = await RawProducer.connect(inbox, { producer });
  t.match(events.slice(-2), [{ type: 'fenced', reason: { code: 'RDMA_ERR_FENCED' } }, { type: 'open' }]);
  t.equal(fresh.answer.delivered, 1);
  t.equal(fresh.answer.epoch, old.answer.epoch + 1);
  fresh.write(content(2, 3000));
  await until('the new lane works', () => held.length === 2);
  const { address, rkey } = old.answer.memory;
  t.not(await old.writeTo(address + 512, rkey, new Uint8Array(2000).fill(0xee)), CompletionStatus.SUCCESS);
  t.ok(hasContent(held[0]?.bytes ?? new Uint8Array(1), 1), 'what is held of the old lane is as it was');
  t.ok(hasContent(held[1]?.bytes ?? new Uint8Array(1), 2), 'and so is the new one');
  await others();
  old.close();
  fresh.close();
  await close();
});

void t.test('offers that make no sense are refused with a reason, and counted', async (t) => {
  const { inbox, events, others, close } = await scene();
  const offers: object[] = [
    { slots: 0 },
    { slots: 2 ** 31 },
    { dataBytes: 2 ** 40 },
    { retainMessages: 2 ** 30 },
    { producer: '../../etc' },
    { protocol: 9 },
    { transport: 'pigeon' },
    { type: 'ready' },
    { endpoint: {} },
  ];
  for (const offer of offers) {
    const said = await codeOf(RawProducer.connect(inbox, offer));
    t.match(said, /^RDMA_ERR_(PROTOCOL|REFUSED)$/, JSON.stringify(offer));
  }
  await until('all are reported', () => events.filter((event) => event.type === 'refused').length === offers.length);
  t.equal(inbox.counters.refused, offers.length);
  const secretless = connectBootstrap({ ...inbox.bootstrap, secret: `${SECRET}!`, service: 'onepiece-inbox' });
  t.equal(await codeOf(secretless), 'RDMA_ERR_UNAUTHENTICATED');
  const known = await RawProducer.connect(inbox, { producer: 'cd'.repeat(16) });
  const again = { producer: 'cd'.repeat(16), retainMessages: 5 };
  t.equal(await codeOf(RawProducer.connect(inbox, again)), 'RDMA_ERR_PROTOCOL', 'a history that never was');
  const ahead = { producer: 'cd'.repeat(16), acknowledged: 2 ** 53 - 1 };
  const raw = await RawProducer.connect(inbox, ahead);
  t.equal(raw.answer.delivered, 2 ** 53 - 1, 'who says that all was acknowledged is believed: it harms only itself');
  raw.close();
  known.close();
  await others();
  await until('only the good lane is left', () => inbox.laneCount === 1);
  await close();
});

void t.test('one identity that comes many times at once has one lane in the end', async (t) => {
  const { inbox, others, close } = await scene();
  const producer = 'ef'.repeat(16);
  const all = await Promise.allSettled(Array.from({ length: 6 }, () => RawProducer.connect(inbox, { producer })));
  await until('one lane is left', () => inbox.counters.lanesOpened === 7 && inbox.laneCount === 2);
  t.equal(inbox.counters.fences, 5);
  await others();
  for (const result of all) if (result.status === 'fulfilled') result.value.close();
  await until('and none at the end', () => inbox.laneCount === 1);
  await close();
});
