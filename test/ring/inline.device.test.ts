// Proves what holds for messages that travel with their descriptor, and for lanes that a busy inbox looks at although
// peers WRITE to them: whole and in order whatever mixture of lengths comes; one WRITE each, and no receive where the
// inbox looks; a slot that is not complete is not there; what is in the data ring is not there before a completion says
// so.
import t, { type Test } from 'tap';
import type { InboxOptions, Inbox, Lane, LaneEvent, Outbox, OutboxOptions } from '../../src/ts/ring/index.js';
import type { LaneReporter } from '../../src/ts/ring/lane-reporter.js';
import { DescriptorFlags, laneImm } from '../../src/ts/ring/layout.js';
import { RawProducer, type Wrong } from './raw-producer.js';
import { breakConnection, content, hasContent, lanesOf, openInbox, openOutbox, postedBy, until } from './support.js';

const INLINE_BYTES = 128;
const { INLINE } = DescriptorFlags;
const LENGTHS = [0, 1, 3, 4, 63, 64, 65, 127, 128, 129, 200, 1000, 4096];

/** An inbox of either kind, what has come, and whether it was right. */
class Sink {
  readonly events: LaneEvent[] = [];
  readonly wrong: string[] = [];
  readonly got: number[] = [];
  /** Given back later. */
  readonly held: { lane: Lane; sequence: number; bytes: Uint8Array }[] = [];
  holds = false;
  inbox!: Inbox;
  private readonly busy: boolean;

  private constructor(busy: boolean) {
    this.busy = busy;
  }

  static async open(busy: boolean, options: Partial<InboxOptions> = {}): Promise<Sink> {
    const sink = new Sink(busy);
    sink.inbox = await openInbox({
      onLane: (event) => sink.events.push(event),
      ...(busy
        ? { wait: 'busy' }
        : {
            onMessage: (message) => {
              sink.note(message.sequence, message.bytes);
              message.done();
            },
          }),
      ...options,
    });
    return sink;
  }

  private note(sequence: number, bytes: Uint8Array): void {
    if (sequence !== (this.got.at(-1) ?? 0) + 1) this.wrong.push(`${sequence} after ${this.got.at(-1)}`);
    if (!hasContent(bytes, sequence)) this.wrong.push(`${sequence} has other bytes`);
    this.got.push(sequence);
  }

  private readonly visit = (lane: Lane): void => {
    const { sequence, offset, length } = lane;
    const bytes = lane.data.subarray(offset, offset + length);
    this.note(sequence, bytes);
    if (this.holds) {
      this.held.push({ lane, sequence, bytes });
      return;
    }
    lane.release(sequence);
    lane.acknowledge(sequence);
  };

  poll(): void {
    if (this.busy) this.inbox.poll(this.visit, 64);
  }

  async until(condition: () => boolean, what: string, outbox?: Outbox): Promise<void> {
    await until(what, () => {
      this.poll();
      if (this.busy) outbox?.poll();
      return condition();
    });
  }

  /** Receives of its lanes that were used and are not posted again. */
  get receivesUsed(): number {
    const owed = (lane: Lane) =>
      (lane as unknown as { reporter: { receivesOwed: LaneReporter['receivesOwed'] } }).reporter.receivesOwed;
    return lanesOf(this.inbox).reduce((sum, lane) => sum + owed(lane), 0);
  }

  async close(t: Test): Promise<void> {
    t.strictSame(this.wrong, []);
    await this.inbox.close();
  }
}

const openFar = (sink: Sink, options: Partial<OutboxOptions> = {}) =>
  openOutbox(sink.inbox, { name: 'p', inPlace: false, inlineBytes: INLINE_BYTES, ...options });

for (const busy of [false, true]) {
  const how = busy ? 'looked at' : 'announced';

  void t.test(`messages of all lengths, alone and in batches, with and without a checksum; ${how}`, async (t) => {
    for (const checksum of [false, true]) {
      const sink = await Sink.open(busy);
      const outbox = await openFar(sink, { checksum, dataBytes: 8192, retainBytes: 65536 });
      const [lane] = sink.inbox.status().lanes;
      t.match(lane, { polled: busy, inlineBytes: INLINE_BYTES, inPlace: false });
      for (let sequence = 1; sequence <= 300; ) {
        const batch = 1 + (sequence % 5);
        outbox.cork();
        for (let i = 0; i < batch; i++) {
          const bytes = content(sequence, LENGTHS[(sequence * 7) % LENGTHS.length]!);
          let taken: number;
          if (sequence % 3 === 0) {
            const reservation = outbox.tryReserve(bytes.length + 5 * (sequence % 2));
            reservation?.bytes.set(bytes);
            taken = reservation?.commit(bytes.length) ?? 0;
          } else {
            taken = outbox.trySend(bytes.subarray(0, 7), bytes.subarray(7));
          }
          if (taken === 0) break;
          t.equal(taken, sequence++);
        }
        outbox.uncork();
        await sink.until(() => outbox.unacknowledged < 12, 'there is room', outbox);
      }
      await sink.until(() => outbox.unacknowledged === 0, 'all are acknowledged', outbox);
      t.equal(sink.got.length, outbox.sequence);
      await outbox.close();
      await sink.close(t);
    }
  });

  void t.test(`a short message is one WRITE, a batch of them too; ${how}`, async (t) => {
    const sink = await Sink.open(busy);
    const outbox = await openFar(sink, { slots: 64, dataBytes: 65536 });
    for (let i = 1; i <= 20; i++) outbox.trySend(content(i, 1 + ((i * 19) % INLINE_BYTES)));
    t.equal(postedBy(outbox).sendsPosted, 20);
    outbox.cork();
    for (let i = 21; i <= 40; i++) outbox.trySend(content(i, INLINE_BYTES));
    outbox.uncork();
    t.equal(postedBy(outbox).sendsPosted, 21);
    await sink.until(() => sink.got.length === 40, 'all are there');
    if (busy) t.equal(sink.receivesUsed, 0, 'nothing announced them');
    outbox.trySend(content(41, INLINE_BYTES + 1));
    t.equal(postedBy(outbox).sendsPosted, 23);
    await sink.until(() => sink.got.length === 41, 'the long one is there');
    await sink.until(() => outbox.unacknowledged === 0, 'all are acknowledged', outbox);
    await outbox.close();
    await sink.close(t);
  });

  void t.test(`what is under way when the connection breaks comes once; ${how}`, async (t) => {
    const sink = await Sink.open(busy);
    const outbox = await openFar(sink);
    for (let i = 1; i <= 60; i++) {
      await sink.until(() => outbox.trySend(content(i, LENGTHS[i % 11]!)) === i, 'there is room', outbox);
      if (i % 20 !== 7) continue;
      const { connects } = outbox.counters;
      t.ok(breakConnection(outbox));
      await sink.until(() => outbox.counters.connects > connects, 'it is there again', outbox);
    }
    await sink.until(() => sink.got.length === 60, 'all are there', outbox);
    t.equal(outbox.counters.connects, 4);
    await outbox.close();
    await sink.close(t);
  });
}

void t.test('a message behind its descriptor stays as long as it is held, and its slot is the credit', async (t) => {
  const sink = await Sink.open(true);
  sink.holds = true;
  const outbox = await openFar(sink, { slots: 4 });
  for (let i = 1; i <= 8; i++) outbox.trySend(content(i, 100));
  await sink.until(() => sink.got.length === 4, 'a lane full is there');
  t.equal(outbox.published, 4);
  t.equal(outbox.status().stalledBy, 'slots');
  t.equal(sink.inbox.status().heldBytes, 0, 'nothing of the data ring is taken');
  for (const { lane, sequence, bytes } of sink.held.splice(0)) {
    t.ok(hasContent(bytes, sequence), `${sequence} is as it was`);
    t.equal(bytes.byteOffset % 64, 0, 'and aligned');
    lane.release(sequence);
    lane.acknowledge(sequence);
  }
  sink.holds = false;
  await sink.until(() => outbox.unacknowledged === 0, 'the others came', outbox);
  await outbox.close();
  await sink.close(t);
});

void t.test('either side may want less room, or none', async (t) => {
  for (const [maxInlineBytes, inlineBytes, granted] of [
    [0, 64, 0],
    [64, 0, 0],
    [64, 960, 64],
    [200, 960, 256],
    [960, 1, 64],
  ] as const) {
    const sink = await Sink.open(true, { maxInlineBytes });
    const outbox = await openFar(sink, { inlineBytes });
    t.match(sink.inbox.status().lanes[0], { inlineBytes: granted, polled: granted > 0 });
    for (let i = 1; i <= 20; i++) {
      await sink.until(() => outbox.trySend(content(i, LENGTHS[i % 12]!)) === i, 'there is room', outbox);
    }
    await sink.until(() => outbox.unacknowledged === 0, 'all came', outbox);
    await outbox.close();
    await sink.close(t);
  }
});

async function rawScene(): Promise<{ sink: Sink; raw: RawProducer }> {
  const sink = await Sink.open(true);
  const raw = await RawProducer.connect(sink.inbox, { inlineBytes: INLINE_BYTES });
  return { sink, raw };
}

async function looksInVain(t: Test, sink: Sink, words: string): Promise<void> {
  const { length } = sink.got;
  for (let i = 0; i < 50; i++) sink.poll();
  t.equal(sink.got.length, length, words);
}

void t.test(
  'a slot that is not complete is not there yet, whichever part is missing, and is when it comes',
  async (t) => {
    const { sink, raw } = await rawScene();
    let sequence = 0;
    for (const cut of [1, 3, 8, 12, 13, 16, 17, 20, 40]) {
      for (const lastFirst of [false, true]) {
        const { words, slot } = raw.slotOf(content(++sequence, 100), { flags: INLINE });
        const parts = [0, cut].map((from, i) => ({ from, words: words.slice(from, i === 0 ? cut : 16 + 25) }));
        if (lastFirst) parts.reverse();
        await raw.show(slot, parts[0]!.words, parts[0]!.from);
        await looksInVain(t, sink, `${cut} words, the last first: ${lastFirst}`);
        await raw.show(slot, parts[1]!.words, parts[1]!.from);
        await sink.until(() => sink.got.length === sequence, 'it is there');
      }
    }
    t.strictSame(
      sink.events.map(({ type }) => type),
      ['open'],
    );
    raw.close();
    await sink.until(() => sink.inbox.laneCount === 0, 'the lane has ended');
    await sink.close(t);
  },
);

void t.test('what is in the data ring is not there before an immediate says so', async (t) => {
  const { sink, raw } = await rawScene();
  const first = raw.slotOf(content(1, 300));
  await raw.show(first.slot, first.words);
  const second = raw.slotOf(content(2, 100), { flags: INLINE });
  await raw.show(second.slot, second.words);
  await looksInVain(t, sink, 'its descriptor alone');
  await raw.land(first.offset, content(1, 300), laneImm(raw.answer.lane, 1));
  await sink.until(() => sink.got.length === 2, 'both are there');
  raw.close();
  await sink.until(() => sink.inbox.laneCount === 0, 'the lane has ended');
  await sink.close(t);
});

const crimes: Record<string, Wrong> = {
  'more than there is room for': { length: INLINE_BYTES + 1 },
  'a length beyond 2^32': { tamper: [7, 1] },
  'a place in the data ring too': { space: 64 },
  'nothing at all': { length: 0 },
  'a place to skip': { kind: 2 },
  'what is to be pulled': { kind: 3 },
  'another offset': { offset: 64 },
  'another sequence': { tamper: [3, 1] },
};

void t.test('what is wrong behind a descriptor fences its lane and reaches nobody else', async (t) => {
  // All at once: one that never becomes whole is given some seconds.
  const commit = async ([name, wrong]: [string, Wrong]) => {
    const sink = await Sink.open(true);
    const raw = await RawProducer.connect(sink.inbox, { inlineBytes: INLINE_BYTES });
    for (const [i, what] of [{}, wrong].entries()) {
      const { words, slot } = raw.slotOf(content(i + 1, 100), { flags: INLINE, ...what });
      await raw.show(slot, words);
    }
    await sink.until(() => sink.events.some(({ type }) => type === 'fenced'), `${name} is fenced`);
    t.match(sink.events.at(-1), { from: 'raw', reason: { code: 'RDMA_ERR_PROTOCOL' } }, name);
    t.strictSame(sink.got, [1], 'what was right before is delivered');
    raw.close();
    await sink.close(t);
  };
  await Promise.all(Object.entries(crimes).map(commit));
});

void t.test('announcements of more than the lane holds fence it', async (t) => {
  const { sink, raw } = await rawScene();
  await raw.land(0, content(1, 8), laneImm(raw.answer.lane, 8));
  await looksInVain(t, sink, 'nothing is described');
  t.equal(sink.inbox.laneCount, 1);
  await raw.land(0, content(1, 8), laneImm(raw.answer.lane, 1));
  await sink.until(() => sink.events.some(({ type }) => type === 'fenced'), 'it is fenced');
  t.match(sink.events.at(-1), { reason: { code: 'RDMA_ERR_PROTOCOL' } });
  raw.close();
  await sink.close(t);
});
