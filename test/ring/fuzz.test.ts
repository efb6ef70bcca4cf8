// Proves, for whatever a peer that knows the secret may write or say, that it is either exactly right and believed, or
// ends its own lane and nothing else: descriptors, control blocks, offers, answers. What counts as right is written
// here from the text of docs/ring.md, not from the code under test. Bounded by runs; fast-check prints the seed and
// path of a failure.
import net from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { MAX_SLOTS } from '../../src/ts/ring/negotiation-messages.js';
import type { ConnectionEvent, InboxMessage, LaneEvent } from '../../src/ts/ring/index.js';
import { crc32cOf } from '../../src/ts/verbs/index.js';
import { RAW_EPOCH, RawConsumer } from './raw-consumer.js';
import { RawProducer } from './raw-producer.js';
import {
  breakConnection,
  codeOf,
  content,
  hasContent,
  linkOf,
  openInbox,
  openOutbox,
  SECRET,
  until,
} from './support.js';

const HIGH = 2 ** 32;
const MAX_PULL_BYTES = 10_000;
const DATA_BYTES = 4096;
const SLOTS = 8;
const INLINE_BYTES = 64;
/** Words of a descriptor, and of a slot. */
const WORDS = 16;
const SLOT_WORDS = WORDS + INLINE_BYTES / 4;
const NOTHING = new Uint8Array(0);

const u32 = fc.oneof(
  fc.nat({ max: 130 }),
  fc.constantFrom(0xffffffff, 0x80000000, 0x7fffffff, 4095, 4096, 4097, 65536, 0x1fffff, 0x200000),
  fc.integer({ min: 0, max: 0xffffffff }),
);

/** What is done to the words of a right slot or control block, before or after its checksum is made. */
type Change = { at: number; to: number; seals: boolean } | { flip: number } | { words: number[]; seals: boolean };
const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ at: fc.nat({ max: 11 }), to: u32, seals: fc.constant(true) }) },
  { weight: 1, arbitrary: fc.record({ at: fc.nat({ max: 15 }), to: u32, seals: fc.constant(false) }) },
  { weight: 2, arbitrary: fc.record({ flip: fc.nat({ max: SLOT_WORDS * 32 - 1 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ words: fc.array(u32, { minLength: 16, maxLength: 16 }), seals: fc.boolean() }),
  },
);

const isInline = (words: Uint32Array) => words.length > WORDS && (words[1]! & (2 << 16)) !== 0;
// By native code, which shares nothing with what is tested.
// Of the words before it, and of the checksum of the message behind the descriptor: where none is, 0.
const checksum = (words: Uint32Array, behind?: Uint32Array) => {
  const more = behind === undefined ? 0 : crc32cOf(new Uint8Array(behind.buffer, behind.byteOffset, behind.byteLength));
  return crc32cOf(new Uint8Array(Uint32Array.from([...words.subarray(0, 12), more]).buffer));
};
const checksumOf = (words: Uint32Array) => {
  const inline = isInline(words) && words[6]! <= INLINE_BYTES;
  return checksum(words, inline ? words.subarray(WORDS, WORDS + Math.ceil(words[6]! / 4)) : undefined);
};
const seal = (words: Uint32Array) => {
  words[12] = checksumOf(words);
};

function changed(right: Uint32Array, what: Change | undefined): Uint32Array {
  const words = right.slice();
  seal(words);
  if (what === undefined) return words;
  if ('flip' in what) words[(what.flip >>> 5) % words.length]! ^= 1 << (what.flip & 31);
  else if ('words' in what) words.set(what.words);
  else words[what.at] = what.to;
  if (!('flip' in what) && what.seals) seal(words);
  return words;
}

const isSealed = (words: Uint32Array, epoch: number) => words[12] === checksumOf(words) && words[0] === epoch;
const whole = (words: Uint32Array, low: number) => words[low + 1]! * HIGH + words[low]!;

interface Step {
  length: number;
  kind: number;
  /** Behind its descriptor, if it fits. */
  inline: boolean;
  checksum: boolean;
  change: Change | undefined;
}

const step: fc.Arbitrary<Step> = fc.record({
  length: fc.oneof(
    fc.nat({ max: 70 }),
    fc.nat({ max: 300 }),
    fc.nat({ max: DATA_BYTES }),
    fc.constantFrom(0, DATA_BYTES, DATA_BYTES - 1),
  ),
  kind: fc.constantFrom(1, 1, 1, 2, 3),
  inline: fc.boolean(),
  checksum: fc.boolean(),
  // Two of three are right, so that there are enough sequences of them.
  change: fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: change }),
});

/**
 * Where the next message of `space` bytes has to lie: behind the last one, on 64 bytes, or at 0 when it does not fit.
 */
function placeOf(tail: number, space: number): number {
  const aligned = Math.ceil(space / 64) * 64;
  return tail + aligned > DATA_BYTES ? 0 : tail;
}

void t.test('any descriptor is delivered as it must be, or fences its lane, and disturbs nobody', async (t) => {
  const events: LaneEvent[] = [];
  const got: { sequence: number; length: number; bytes: Uint8Array | undefined }[] = [];
  let others = 0;
  const inbox = await openInbox({
    maxPullBytes: MAX_PULL_BYTES,
    onLane: (event) => events.push(event),
    onMessage: (message: InboxMessage) => {
      if (message.from !== 'raw') others += hasContent(message.bytes, message.sequence) ? 1 : 1e9;
      else {
        const { sequence, length } = message;
        got.push({ sequence, length, bytes: message.isPulled ? undefined : message.bytes.slice() });
      }
      message.done();
    },
  });
  const good = await openOutbox(inbox, { name: 'good' });
  const tally = { right: 0, wrong: 0 };

  // What must become of the message; undefined: it is wrong.
  const judge = (words: Uint32Array, epoch: number, sequence: number, tail: number, ring: Uint8Array) => {
    const kind = words[1]! & 0xffff;
    const flags = words[1]! >>> 16;
    const space = words[5]!;
    const length = whole(words, 6);
    const address = whole(words, 8);
    const offset = words[4]!;
    if (!isSealed(words, epoch) || whole(words, 2) !== sequence || space > DATA_BYTES) return undefined;
    if (offset !== placeOf(tail, space) % DATA_BYTES) return undefined;
    const behind = isInline(words);
    if (behind && (kind !== 1 || space !== 0 || length < 1 || length > INLINE_BYTES)) return undefined;
    if (kind === 1 && !behind && length > space) return undefined;
    if (kind === 2 && length !== 0) return undefined;
    if (kind === 3 && (length > MAX_PULL_BYTES || space !== 0 || !Number.isSafeInteger(address))) return undefined;
    if (kind < 1 || kind > 3) return undefined;
    const bytes = behind ? new Uint8Array(words.slice(WORDS).buffer, 0, length) : ring.slice(offset, offset + length);
    if (kind === 1 && (flags & 1) !== 0 && crc32cOf(bytes) !== words[11]) return undefined;
    return { kind, length, bytes, tail: offset + Math.ceil(space / 64) * 64 };
  };

  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      got.length = 0;
      events.length = 0;
      const before = { fences: inbox.counters.fences, skipped: inbox.counters.skipped };
      const raw = await RawProducer.connect(inbox, { slots: SLOTS, dataBytes: DATA_BYTES, inlineBytes: INLINE_BYTES });
      const { epoch } = raw.answer;
      const ring = new Uint8Array(DATA_BYTES);
      let tail = 0;
      let skipped = 0;
      const expected: { sequence: number; length: number; bytes: Uint8Array | undefined }[] = [];
      let isWrong = false;
      for (const [i, { length, kind, inline, checksum, change }] of steps.entries()) {
        const sequence = i + 1;
        const payload = content(sequence, kind === 1 ? length : 0);
        const behind = inline && kind === 1 && length > 0 && length <= INLINE_BYTES;
        const space = behind ? 0 : payload.length;
        const offset = placeOf(tail, space) % DATA_BYTES;
        ring.set(behind ? NOTHING : payload, offset);
        const right = new Uint32Array(SLOT_WORDS);
        const flags = (checksum ? 1 : 0) | (behind ? 2 : 0);
        right.set([epoch, kind | (flags << 16), sequence, 0, offset, space, 0, 0]);
        if (behind) new Uint8Array(right.buffer, WORDS * 4, length).set(payload);
        right[6] = kind === 2 ? 0 : length;
        if (kind === 3) right.set([0x10000, 0, 5], 8);
        right[11] = checksum && kind === 1 ? crc32cOf(payload) : 0;
        const words = changed(right, change);
        raw.writeWords(sequence % SLOTS, words, offset, behind ? NOTHING : payload);
        const judged = judge(words, epoch, sequence, tail, ring);
        if (judged === undefined) {
          isWrong = true;
          break;
        }
        tail = judged.tail % DATA_BYTES === 0 ? 0 : judged.tail;
        if (judged.kind === 2) skipped++;
        else expected.push({ sequence, length: judged.length, bytes: judged.kind === 1 ? judged.bytes : undefined });
        // It has no other credit than what was delivered, as all is released at once.
        await until(
          'it is here',
          () => got.length === expected.length && inbox.counters.skipped === before.skipped + skipped,
        );
      }
      tally[isWrong ? 'wrong' : 'right']++;
      if (isWrong) await until('the lane is fenced', () => inbox.counters.fences > before.fences);
      if (isWrong) {
        const reason = events.find(({ type }) => type === 'fenced')?.reason?.code;
        if (reason !== 'RDMA_ERR_PROTOCOL') throw new Error(`fenced for ${reason}`);
      } else if (inbox.counters.fences !== before.fences) throw new Error('a lane that was right was fenced');
      for (const [i, right] of expected.entries()) {
        const same = got[i]!.sequence === right.sequence && got[i]!.length === right.length;
        if (!same || Buffer.compare(got[i]!.bytes ?? NOTHING, right.bytes ?? NOTHING) !== 0) {
          throw new Error(`message ${right.sequence} of ${right.length} bytes is not what was written`);
        }
      }
      if (got.length > expected.length) throw new Error('a message is delivered that must not be');
      const sent = good.sequence + 3;
      while (good.sequence < sent) await good.send(content(good.sequence + 1, 333));
      await good.whenAcknowledged();
      if (others !== sent || good.counters.resent > 0) throw new Error('the good producer was disturbed');
      raw.close();
      await until('the lane has ended', () => inbox.laneCount === 1);
    }),
    { numRuns: 120, endOnFailure: true },
  );
  t.ok(tally.right > 10 && tally.wrong > 10, JSON.stringify(tally));
  await good.close();
  await inbox.close();
});

void t.test('any control block is believed as far as it can be true, ignored, or ends the connection', async (t) => {
  const raw = await RawConsumer.listen();
  const events: ConnectionEvent[] = [];
  const told: number[] = [];
  const outbox = await openOutbox(() => raw.bootstrap, {
    wait: 'busy',
    slots: 64,
    retainMessages: 64,
    onConnection: (event) => events.push(event),
    onAcknowledged: (sequence) => told.push(sequence),
  });
  const tally = { ignored: 0, believed: 0, lost: 0 };
  const leave = async () => {
    const lanes = raw.lanes;
    breakConnection(outbox);
    await until('another lane', () => raw.lanes > lanes && outbox.connected);
  };
  // Some messages are written and not acknowledged. This consumer gives little back, so a lane is used up soon.
  const untilSent = async () => {
    await until('it is connected', () => outbox.connected);
    while (outbox.unacknowledged < 3) {
      if (outbox.trySend(content(outbox.sequence + 1, 10)) === 0) await leave();
    }
    const isSent = () => linkOf(outbox).connection?.sent === outbox.sequence;
    if (!isSent()) await leave();
    if (!isSent()) throw new Error('a new lane does not take what is retained');
  };
  const block = fc.record({
    state: fc.constantFrom(1, 1, 1, 1, 2, 3),
    released: fc.integer({ min: -3, max: 4 }),
    acknowledged: fc.integer({ min: -3, max: 4 }),
    change: fc.option(change, { nil: undefined, freq: 2 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(block, { minLength: 1, maxLength: 8 }), async (blocks) => {
      for (const { state, released, acknowledged, change } of blocks) {
        await untilSent();
        const sent = outbox.sequence;
        const before = outbox.acknowledged;
        const right = new Uint32Array(16);
        right.set([RAW_EPOCH, state, Math.max(0, before + released), 0, Math.max(0, before + acknowledged), 0]);
        const words = changed(right, change);
        const lanes = raw.lanes;
        events.length = 0;
        told.length = 0;
        await raw.writeControl(words);
        await until('the outbox has looked', () => outbox.poll() > 0 || events.length > 0);
        const lost = events.find(({ type }) => type === 'lost');
        if (!isSealed(words, RAW_EPOCH)) {
          tally.ignored++;
          if (lost !== undefined || told.length > 0 || outbox.acknowledged !== before)
            throw new Error('it believes noise');
        } else if (whole(words, 2) > sent || whole(words, 4) > sent) {
          tally.lost++;
          if (lost?.reason?.code !== 'RDMA_ERR_PROTOCOL') throw new Error(`it ends with ${lost?.reason?.code}`);
          if (outbox.acknowledged !== before) throw new Error('it believes what cannot be true');
        } else {
          tally.believed++;
          const now = Math.max(before, whole(words, 4));
          if (outbox.acknowledged !== now) throw new Error(`${outbox.acknowledged} are acknowledged, and not ${now}`);
          const drains = words[1] !== 1;
          if (drains !== events.some(({ type }) => type === 'draining')) throw new Error('draining gave no event');
          if (lost !== undefined && !(drains && now === sent)) throw new Error('the connection is lost for nothing');
        }
        if (lost !== undefined) await until('it comes again', () => raw.lanes > lanes);
        // A connection that drains sends nothing more.
        else if (events.length > 0) await leave();
      }
    }),
    { numRuns: 60, endOnFailure: true },
  );
  t.ok(tally.ignored > 10 && tally.believed > 10 && tally.lost > 10, JSON.stringify(tally));
  await outbox.close();
  await raw.close();
});

const anyValue = fc.oneof(
  u32,
  fc.constantFrom(-1, 0.5, null, '', 'x', true, [], {}, 2 ** 53, Number.MAX_SAFE_INTEGER),
  fc.string(),
);
const anyEndpoint = fc.record(
  {
    qpNum: anyValue,
    psn: anyValue,
    gid: fc.oneof(anyValue, fc.constant('00'.repeat(16))),
    lid: anyValue,
    mtu: anyValue,
  },
  { requiredKeys: [] },
);

/** Some object of which one or two properties are given, each by its own arbitrary. */
function fewOf(properties: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<object> {
  const one = fc.oneof(...Object.entries(properties).map(([name, value]) => value.map((made) => ({ [name]: made }))));
  return fc.tuple(one, fc.option(one)).map(([first, second]) => ({ ...first, ...second }));
}

void t.test('any offer gets a lane or a reason, and the inbox goes on', async (t) => {
  const inbox = await openInbox({ maxLanes: 4, maxDataBytes: 65536 });
  const good = await openOutbox(inbox, { name: 'good' });
  const deliver = (async () => {
    for await (const message of inbox) message.done();
  })();
  const codes = new Map<string, number>();
  const offers = fewOf({
    slots: anyValue,
    dataBytes: anyValue,
    retainMessages: anyValue,
    acknowledged: anyValue,
    inPlace: anyValue,
    producer: anyValue,
    name: anyValue,
    transport: anyValue,
    control: fc.record({ address: anyValue, rkey: anyValue }, { requiredKeys: [] }),
    endpoint: anyEndpoint,
    more: anyValue,
  });
  await fc.assert(
    fc.asyncProperty(offers, async (offer) => {
      const came = RawProducer.connect(inbox, offer).then((raw) => {
        // The first report goes to wherever the offer said.
        raw.write(content(1, 8));
        raw.close();
      });
      const code = (await codeOf(came)) ?? 'a lane';
      codes.set(code, (codes.get(code) ?? 0) + 1);
      await good.send(content(1, 50));
      await good.whenAcknowledged(undefined, { timeoutMs: 20_000 });
      await until('only the good lane is left', () => inbox.laneCount === 1);
    }),
    // What is right and what is wrong for sure, before what chance brings.
    { numRuns: 100, endOnFailure: true, examples: [[{}], [{ slots: 0 }], [{ transport: 'pigeon' }]] },
  );
  for (const code of codes.keys()) t.match(code, /^(a lane|RDMA_ERR_PROTOCOL|RDMA_ERR_REFUSED|E[A-Z]+)$/);
  t.ok(codes.has('a lane') && codes.has('RDMA_ERR_PROTOCOL'), JSON.stringify([...codes]));
  t.equal(good.counters.resent, 0, 'nobody else notices');
  await good.close();
  await inbox.close();
  await deliver;
});

void t.test('any answer gives an outbox that can be closed, or an error with a code', async (t) => {
  const raw = await RawConsumer.listen();
  const codes = new Map<string, number>();
  const answers = fewOf({
    inbox: anyValue,
    lane: anyValue,
    epoch: anyValue,
    slots: fc.oneof(anyValue, fc.constantFrom(0, 1, 9, MAX_SLOTS)),
    dataBytes: anyValue,
    memory: fc.record({ address: anyValue, rkey: anyValue }, { requiredKeys: [] }),
    inPlace: fc.boolean(),
    maxPullBytes: anyValue,
    delivered: anyValue,
    acknowledged: anyValue,
    endpoint: anyEndpoint,
    type: fc.constantFrom('answer', 'error', 'ready', 'offer'),
  });
  await fc.assert(
    fc.asyncProperty(answers, async (answer) => {
      raw.wrong = answer;
      const opening = openOutbox(() => raw.bootstrap, { reconnectMs: 0 });
      const code = (await codeOf(opening)) ?? 'connected';
      codes.set(code, (codes.get(code) ?? 0) + 1);
      if (code !== 'connected') return;
      const outbox = await opening;
      // Whatever becomes of it: it is taken, or the outbox has failed.
      await codeOf(outbox.send(content(1, 10)));
      await outbox.close();
    }),
    { numRuns: 100, endOnFailure: true },
  );
  for (const code of codes.keys()) t.match(code, /^(connected|RDMA_ERR_[A-Z_]+|E[A-Z]+)$/);
  t.ok((codes.get('RDMA_ERR_PROTOCOL') ?? 0) > 20, JSON.stringify([...codes]));
  await raw.close();
});

void t.test('a conversation that was recorded opens nothing when it is replayed, whole or in part', async (t) => {
  const inbox = await openInbox({ onMessage: (message) => message.done() });
  const recorded: Buffer[] = [];
  const proxy = net.createServer((client) => {
    const server = net.connect(inbox.bootstrap.port, '127.0.0.1');
    client.on('data', (bytes: Buffer) => {
      recorded.push(bytes);
      server.write(bytes);
    });
    server.pipe(client);
    for (const [a, b] of [
      [client, server],
      [server, client],
    ] as const) {
      a.on('error', () => b.destroy());
      a.on('close', () => b.destroy());
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const { port } = proxy.address() as net.AddressInfo;
  const outbox = await openOutbox({ host: '127.0.0.1', port });
  await outbox.send(content(1, 10));
  await outbox.whenAcknowledged();
  await outbox.close();
  await until('it has left', () => inbox.laneCount === 0);
  const bytes = Buffer.concat(recorded);
  t.ok(bytes.length > 300, 'a handshake and an offer were heard');
  t.notOk(bytes.includes(SECRET), 'the secret is not among it');
  const opened = inbox.counters.lanesOpened;
  const replay = (some: Buffer) =>
    new Promise<void>((resolve) => {
      const socket = net.connect(inbox.bootstrap.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.resume();
      socket.end(some);
    });
  await replay(bytes);
  for (const part of [0.2, 0.5, 0.8, 0.99]) await replay(bytes.subarray(0, Math.floor(bytes.length * part)));
  await replay(Buffer.concat([bytes, bytes]));
  t.equal(inbox.counters.lanesOpened, opened);
  t.equal(inbox.laneCount, 0);
  const after = await openOutbox(inbox);
  await after.send(content(1, 10));
  await after.whenAcknowledged();
  await after.close();
  proxy.close();
  await inbox.close();
});
