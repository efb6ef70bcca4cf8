// Proves what the loop form makes: a million messages by trySend() and poll(), or by one reservation that is used again
// and again, cause not one collection, by the collector's own events. Without that, a message in place makes its
// Reservation and the view that it shows; nothing of it is kept.
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { median } from '../../src/ts/bench/kit/statistics.js';
import type { Inbox, Lane, Outbox, Reservation } from '../../src/ts/ring/index.js';
import { collect, garbageOf, heapBytes, READING_BYTES, warmUp } from '../garbage.js';
import { content, openInbox, openOutbox } from './support.js';

const MESSAGES = 1_000_000;
const WARM_UP_MESSAGES = 20_000;
const BATCH = 32;
/** Of a message in place: its Reservation and a Uint8Array. */
const IN_PLACE_BYTES = 450;
const KEPT_BYTES = 16 << 10;

interface Pair {
  inbox: Inbox;
  outbox: Outbox;
  reservation?: Reservation;
}

const body = content(1, 100);
let delivered = 0;
let sum = 0;

const visit = (lane: Lane): void => {
  delivered++;
  sum += lane.data[lane.offset]! + lane.length;
  lane.acknowledge(lane.sequence);
  lane.release(lane.sequence);
};

function sendCopies({ outbox }: Pair, count: number): void {
  for (let i = 0; i < count; i++) if (outbox.trySend(body) === 0) return;
}

function sendInPlace({ outbox }: Pair, count: number): void {
  for (let i = 0; i < count; i++) {
    const reservation = outbox.tryReserve(100);
    if (reservation === undefined) return;
    reservation.bytes[0] = 7;
    reservation.commit();
  }
}

function sendReused(pair: Pair, count: number): void {
  for (let i = 0; i < count; i++) {
    const reservation = pair.outbox.tryReserve(100, pair.reservation);
    if (reservation === undefined) return;
    pair.reservation = reservation;
    reservation.data[reservation.offset] = 7;
    reservation.commit();
  }
}

function move(pair: Pair, send: (pair: Pair, count: number) => void, messages: number): void {
  let idle = 0;
  for (const end = delivered + messages; delivered < end; ) {
    const before = delivered;
    send(pair, BATCH);
    pair.inbox.poll(visit);
    pair.outbox.poll();
    idle = delivered > before ? 0 : idle + 1;
    if (idle > 1_000_000) throw new Error('nothing moves any more');
  }
}

async function openPair(inPlace: boolean, inlineBytes = 64): Promise<Pair> {
  sum = 0; // beyond 2^31 it would be an object itself
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { wait: 'busy', slots: 64, dataBytes: 65536, inPlace, inlineBytes });
  const pair = { inbox, outbox };
  // The inbox has to hear over TCP that the outbox is ready, before it reports in a loop that lets nothing else run.
  outbox.trySend(body);
  while (outbox.acknowledged < 1) {
    inbox.poll(visit);
    outbox.poll();
    await turn();
  }
  return pair;
}

for (const [name, send, inPlace, inlineBytes] of [
  ['copied', sendCopies, true, 0],
  ['copied', sendCopies, true, 128],
  ['copied', sendCopies, false, 64],
  ['copied', sendCopies, false, 128],
  ['built by one reservation', sendReused, true, 0],
  ['built by one reservation', sendReused, true, 128],
  ['built by one reservation', sendReused, false, 64],
  ['built by one reservation', sendReused, false, 128],
] as const) {
  void t.test(
    `a million messages that are ${name} cause no collection; lane mapped: ${inPlace}, inlineBytes: ${inlineBytes}`,
    { timeout: 100_000 },
    async (t) => {
      const pair = await openPair(inPlace, inlineBytes);
      collect();
      await warmUp(() => move(pair, send, WARM_UP_MESSAGES));
      const { collections, grownBytes, medianBytes, ms } = await garbageOf(() => move(pair, send, MESSAGES / 10));
      t.same(collections, [], 'collections in the loop');
      t.ok(medianBytes < READING_BYTES, `the heap grew by ${grownBytes.join(' ')} bytes`);
      t.ok(sum > 0);
      t.comment(`${((ms * 1e6) / MESSAGES).toFixed(0)} ns each, ${medianBytes} bytes`);
      await pair.outbox.close();
      await pair.inbox.close();
    },
  );
}

void t.test(
  'a message in place makes its Reservation and a view, and keeps nothing',
  { timeout: 100_000 },
  async (t) => {
    const pair = await openPair(true);
    collect();
    await warmUp(() => move(pair, sendInPlace, WARM_UP_MESSAGES), WARM_UP_MESSAGES * IN_PLACE_BYTES);
    t.ok(pair.outbox.counters.inPlace > 20_000, 'they were built in the lane');
    const { medianBytes } = await garbageOf(() => move(pair, sendInPlace, 2000));
    const each = medianBytes / 2000;
    t.ok(each < IN_PLACE_BYTES, `${each.toFixed(0)} bytes for a message`);
    const kept: number[] = [];
    for (let round = 0; round < 10; round++) {
      collect();
      const before = heapBytes();
      move(pair, sendInPlace, MESSAGES / 10);
      collect();
      await turn();
      collect();
      kept.push(heapBytes() - before);
    }
    t.ok(median(kept) < KEPT_BYTES, `${kept.join(' ')} bytes are kept, each of 100 000 messages`);
    t.comment(`${each.toFixed(0)} bytes for a message, ${median(kept)} kept`);
    await pair.outbox.close();
    await pair.inbox.close();
  },
);
