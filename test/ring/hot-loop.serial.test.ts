// Proves what the loop form makes: a million messages by trySend() and poll(), or by one reservation that is used again
// and again, cause not one collection, by the collector's own events. Without that, a message in place makes its
// Reservation and the view that it shows; nothing of it is kept.
import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { Inbox, Lane, Outbox, Reservation } from '../../src/ts/ring/index.js';
import { content, openInbox, openOutbox } from './support.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void;
const heapBytes = () => getHeapStatistics().used_heap_size;

const MESSAGES = 1_000_000;
const BATCH = 32;
/** Reading the heap's size makes objects itself, and a function that is compiled again leaves some KiB. */
const NOISE_BYTES = 64 << 10;
/** Of a message in place: its Reservation and a Uint8Array. */
const IN_PLACE_BYTES = 450;

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

// Until the code is compiled: unoptimized code boxes numbers, and how soon the compiler comes depends on the machine.
// The collection before each round is of young objects only: a whole one throws code away that knows an object which
// has died.
async function warmUp(pair: Pair, send: (pair: Pair, count: number) => void, bytes: number): Promise<void> {
  for (let round = 0, steady = 0; round < 100 && steady < 8; round++) {
    collect({ type: 'minor' });
    const before = heapBytes();
    move(pair, send, 20_000);
    steady = heapBytes() - before < 4096 + 20_000 * bytes ? steady + 1 : 0;
    await turn();
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
      await warmUp(pair, send, 0);
      const collections: number[] = [];
      const observer = new PerformanceObserver((list) => {
        for (const { startTime } of list.getEntries()) collections.push(startTime);
      });
      observer.observe({ entryTypes: ['gc'] });
      collect({ type: 'minor' });
      await turn();
      await turn();
      t.ok(collections.length > 0, 'the observer hears of collections');
      const before = heapBytes();
      const started = performance.now();
      move(pair, send, MESSAGES);
      const ended = performance.now();
      const grown = heapBytes() - before;
      await turn();
      await turn();
      observer.disconnect();
      const inLoop = collections.filter((at) => at >= started && at <= ended);
      t.same(inLoop, [], 'collections in the loop');
      t.ok(grown < NOISE_BYTES, `the heap grew by ${grown} bytes`);
      t.ok(sum > 0);
      t.comment(`${(((ended - started) * 1e6) / MESSAGES).toFixed(0)} ns each, ${grown} bytes`);
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
    await warmUp(pair, sendInPlace, IN_PLACE_BYTES);
    t.ok(pair.outbox.counters.inPlace > 20_000, 'they were built in the lane');
    collect();
    const before = heapBytes();
    move(pair, sendInPlace, 2000);
    const each = (heapBytes() - before) / 2000;
    t.ok(each < IN_PLACE_BYTES, `${each.toFixed(0)} bytes for a message`);
    move(pair, sendInPlace, MESSAGES);
    collect();
    await turn();
    collect();
    const kept = heapBytes() - before;
    t.ok(kept < 4 * NOISE_BYTES, `${kept} bytes are kept of a million messages`);
    t.comment(`${each.toFixed(0)} bytes for a message, ${kept} kept`);
    await pair.outbox.close();
    await pair.inbox.close();
  },
);
