// Proves that lanes which do nothing cost the others nothing but their memory: more than a thousand of them in one
// inbox, and a message costs what it costs with a few. Both are measured in turns, in the same run.
import t from 'tap';
import type { Inbox, Lane, Outbox } from '../../src/ts/ring/index.js';
import { content, openInbox, openOutbox } from './support.js';

const MANY = 1024;
const FEW = 8;
const ACTIVE = 8;
const ROUNDS = 15;
const MESSAGES = 4000;
const SLOTS = 2;
const DATA_BYTES = 256;

const body = content(1, 64);

interface Scene {
  inbox: Inbox;
  outboxes: Outbox[];
}

const visit = (lane: Lane) => {
  lane.acknowledge(lane.sequence);
  lane.release(lane.sequence);
};

async function open(lanes: number): Promise<Scene> {
  const inbox = await openInbox({ maxLanes: lanes, maxSlots: SLOTS, wait: 'busy' });
  const outboxes: Outbox[] = [];
  for (let begin = 0; begin < lanes; begin += 32) {
    const some = Array.from({ length: Math.min(32, lanes - begin) }, (_, i) =>
      openOutbox(inbox, {
        name: String(begin + i),
        wait: 'busy',
        slots: SLOTS,
        inlineBytes: 0, // which lanes that are polled have, and those beyond them have not
        dataBytes: DATA_BYTES,
        retainMessages: 4,
        retainBytes: 4096,
      }),
    );
    outboxes.push(...(await Promise.all(some)));
  }
  // The inbox has to hear over TCP that each is ready, before it reports in a loop that lets nothing else run.
  for (const outbox of outboxes) outbox.trySend(body);
  while (outboxes.some((outbox) => outbox.acknowledged < 1)) {
    inbox.poll(visit);
    for (const outbox of outboxes) outbox.poll();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { inbox, outboxes };
}

/** Microseconds for a message, through the lanes of `active`, one after another. */
function costOf({ inbox }: Scene, active: Outbox[]): number {
  const began = performance.now();
  let sent = 0;
  let got = 0;
  let turns = 0;
  const count = (lane: Lane) => {
    got++;
    visit(lane);
  };
  while (got < MESSAGES) {
    if (++turns > 1e7) throw new Error('nothing moves any more');
    for (const outbox of active) {
      if (sent < MESSAGES && outbox.trySend(body) > 0) sent++;
    }
    inbox.poll(count);
    for (const outbox of active) outbox.poll();
  }
  return ((performance.now() - began) * 1000) / MESSAGES;
}

/** Nanoseconds for a poll that finds nothing. */
function emptyPollOf({ inbox }: Scene): number {
  const began = performance.now();
  for (let i = 0; i < 20_000; i++) inbox.poll(visit);
  return ((performance.now() - began) * 1e6) / 20_000;
}

const least = (numbers: number[]) => Math.min(...numbers);

void t.test(`${MANY} lanes: a poll and a message cost what they cost with ${FEW}`, { timeout: 0 }, async (t) => {
  const few = await open(FEW);
  const many = await open(MANY);
  t.equal(many.inbox.laneCount, MANY);
  // Spread over the whole of them: their queue pairs are far from each other.
  const spread = Array.from({ length: ACTIVE }, (_, i) => many.outboxes[Math.floor((i * (MANY - 1)) / (ACTIVE - 1))]!);
  const message = { few: [] as number[], many: [] as number[] };
  const empty = { few: [] as number[], many: [] as number[] };
  // The least of many turns: what else the machine does only adds.
  for (let round = 0; round < ROUNDS; round++) {
    message.few.push(costOf(few, few.outboxes));
    message.many.push(costOf(many, spread));
    empty.few.push(emptyPollOf(few));
    empty.many.push(emptyPollOf(many));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const words = `a message ${least(message.few).toFixed(2)} us with ${FEW} lanes, ${least(message.many).toFixed(2)} us with ${MANY}; an empty poll ${least(empty.few).toFixed(0)} ns and ${least(empty.many).toFixed(0)} ns`;
  t.comment(words);
  t.ok(least(message.many) < 2 * least(message.few), words);
  t.ok(least(empty.many) < 2 * least(empty.few) + 100, words);

  const status = many.inbox.status();
  const laneBytes = SLOTS * 64 + DATA_BYTES + 64;
  t.equal(status.memoryBytes, MANY * laneBytes, 'memory of a lane is as documented, and counted');
  t.ok(status.lanes.every(({ memoryBytes }) => memoryBytes === laneBytes));

  // And every one of them is alive.
  let got = 0;
  const senders = many.outboxes.map((outbox) => outbox.send(body));
  await Promise.all(senders);
  for (let turn = 0; got < MANY && turn < 1e6; turn++) {
    many.inbox.poll((lane) => {
      got++;
      visit(lane);
    });
  }
  t.equal(got, MANY);
  for (const { outboxes, inbox } of [few, many]) {
    await Promise.all(outboxes.map((outbox) => outbox.close()));
    await inbox.close();
  }
});
