// Proves liveness of what goes back to a producer: no release and no acknowledgement stays unreported, whoever else is
// busy, whichever lane the message came by, and whatever the handler does.
import t from 'tap';
import type { InboxMessage, Lane } from '../../src/ts/ring/index.js';
import { breakConnection, content, failQueuePair, hasContent, openInbox, openOutbox, until } from './support.js';

void t.test(
  'an acknowledgement that comes after a reconnect, for a message of the lane before, is reported',
  async (t) => {
    const got: InboxMessage[] = [];
    const inbox = await openInbox({ onMessage: (message) => got.push(message) });
    const outbox = await openOutbox(inbox);
    await outbox.send(content(1, 500));
    await until('the message is there', () => got.length === 1);
    breakConnection(outbox);
    await until('the outbox is back', () => inbox.counters.fences === 1 && outbox.connected);
    await until('the new lane is there', () => inbox.laneCount === 1);
    // Out of the turn in which the new lane had something to say anyway.
    await outbox.send(content(2, 1));
    await until('the new lane works', () => got.length === 2);
    got[1]?.acknowledge();
    t.ok(hasContent(got[0]?.bytes ?? new Uint8Array(0), 1), 'the bytes of a fenced lane stay until they are released');
    got[0]?.acknowledge();
    await outbox.whenAcknowledged(2, { timeoutMs: 5000 });
    t.equal(got.length, 2, 'nothing was delivered twice');
    got[0]?.release();
    t.equal(got[0]?.bytes.length, 0, 'and go away then');
    await outbox.close();
    await inbox.close();
  },
);

void t.test('a quiet producer hears of its message while another one never stops (event loop)', async (t) => {
  // The loud one is kept going from within the handler, so that the inbox always finds something to do.
  const quietFrom = 'quiet';
  let stop = false;
  let heldBack: InboxMessage | undefined;
  let loudCount = 0;
  const inbox = await openInbox({
    onMessage: (message) => {
      if (message.from === quietFrom) {
        heldBack = message;
        return;
      }
      message.done();
      if (++loudCount > 2000 && heldBack !== undefined) {
        heldBack.done();
        heldBack = undefined;
      }
      loud.poll();
      if (!stop) loud.trySend(content(1, 8));
    },
  });
  const loud = await openOutbox(inbox, { wait: 'busy', slots: 512, dataBytes: 65536 });
  const quiet = await openOutbox(inbox, { name: quietFrom, slots: 64 });
  await quiet.send(content(1, 8));
  for (let i = 0; i < 64; i++) loud.trySend(content(1, 8));
  await quiet.whenAcknowledged(1, { timeoutMs: 10_000 });
  t.ok(loudCount > 2000, `${loudCount} messages of the other one`);
  stop = true;
  await loud.close();
  await quiet.close();
  await inbox.close();
});

void t.test('a quiet producer hears of its message while another one never stops (loop form)', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  const loud = await openOutbox(inbox, { wait: 'busy', slots: 64 });
  const quiet = await openOutbox(inbox, { name: 'quiet', slots: 64, wait: 'busy' });
  const visit = (lane: Lane) => {
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  };
  let empty = 0;
  const poll = () => {
    if (inbox.poll(visit) === 0) empty++;
    loud.poll();
    quiet.poll();
  };
  // That the outboxes are ready comes by TCP, and a report with it: the first message is not the one that counts.
  for (const outbox of [loud, quiet]) outbox.trySend(content(1, 8));
  await until('both are ready', () => {
    poll();
    return loud.acknowledged === 1 && quiet.acknowledged === 1;
  });
  quiet.trySend(content(2, 8));
  empty = 0;
  let polls = 0;
  for (; quiet.acknowledged < 2 && polls < 10_000; polls++) {
    loud.trySend(content(1, 8));
    poll();
  }
  t.equal(empty, 0, 'every poll found something');
  t.equal(quiet.acknowledged, 2, `after ${polls} polls`);
  await loud.close();
  await quiet.close();
  await inbox.close();
});

void t.test('a handler that throws loses no message: the rest of what was polled comes later', async (t) => {
  const inbox = await openInbox({ wait: 'busy' });
  const one = await openOutbox(inbox, { wait: 'busy', slots: 64 });
  const two = await openOutbox(inbox, { wait: 'busy', slots: 64 });
  const seen: string[] = [];
  let thrown = 0;
  for (let i = 1; i <= 20; i++) for (const outbox of [one, two]) t.equal(outbox.trySend(content(i, i)), i);
  for (let polls = 0; seen.length < 40 && polls < 1000; polls++) {
    try {
      inbox.poll((lane) => {
        seen.push(`${lane.progress.producer} ${lane.sequence}`);
        lane.release(lane.sequence);
        lane.acknowledge(lane.sequence);
        if (lane.sequence % 3 === 0) throw new Error('from the visit');
      });
    } catch (error) {
      t.equal((error as Error).message, 'from the visit');
      thrown++;
    }
  }
  t.equal(thrown, 12);
  for (const { identity } of [one, two]) {
    const own = seen.filter((line) => line.startsWith(identity)).map((line) => Number(line.slice(33)));
    t.strictSame(
      own,
      Array.from({ length: 20 }, (_, i) => i + 1),
      'each once, in order',
    );
  }
  // Receives and credits are whole: many times the lane goes through.
  let last = 0;
  for (let polls = 0; last < 500 && polls < 100_000; polls++) {
    if (one.sequence < 500) one.trySend(content(one.sequence + 1, 100));
    one.poll();
    if (polls % 256 === 0) await new Promise((resolve) => setImmediate(resolve));
    inbox.poll((lane) => {
      last = lane.sequence;
      lane.release(last);
      lane.acknowledge(last);
    });
  }
  t.equal(last, 500);
  await one.close();
  await two.close();
  await inbox.close();
});

void t.test('what onLane, onConnection and onAcknowledged throw is uncaught, and breaks nothing', async (t) => {
  const uncaught: string[] = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => uncaught.push(error.message));
  const cry = (what: string) => () => {
    throw new Error(what);
  };
  const got: number[] = [];
  const inbox = await openInbox({
    onLane: cry('onLane'),
    onMessage: (message) => {
      got.push(message.sequence);
      message.done();
      if (message.sequence === 3) throw new Error('onMessage');
    },
  });
  const outbox = await openOutbox(inbox, { onConnection: cry('onConnection'), onAcknowledged: cry('onAcknowledged') });
  for (let i = 1; i <= 5; i++) outbox.trySend(content(i, 10));
  await outbox.whenAcknowledged(5, { timeoutMs: 5000 });
  breakConnection(outbox);
  await outbox.send(content(6, 10));
  await outbox.whenAcknowledged(6, { timeoutMs: 5000 });
  t.strictSame(got, [1, 2, 3, 4, 5, 6]);
  await outbox.close();
  await until('the lane is fenced', () => inbox.laneCount === 0);
  await inbox.close();
  process.removeAllListeners('uncaughtException');
  for (const listener of listeners) process.on('uncaughtException', listener);
  for (const what of ['onLane', 'onMessage', 'onConnection', 'onAcknowledged']) t.ok(uncaught.includes(what), what);
});

async function quickPair(options: Partial<Parameters<typeof openOutbox>[1]>) {
  const inbox = await openInbox({ wait: 'busy' });
  const outbox = await openOutbox(inbox, { wait: 'busy', slots: 64, ...options });
  let got = 0;
  const visit = (lane: Lane) => {
    got++;
    lane.release(lane.sequence);
    lane.acknowledge(lane.sequence);
  };
  outbox.trySend(content(1, 8));
  await until('both are ready', () => {
    inbox.poll(visit);
    outbox.poll();
    return outbox.acknowledged === 1;
  });
  const poll = () => {
    inbox.poll(visit);
    outbox.poll();
  };
  return { inbox, outbox, poll, count: () => got };
}

void t.test(
  'a producer with plenty of credit gets one report for half of its slots, and one of the rest when it pauses',
  async (t) => {
    const { inbox, outbox, poll, count } = await quickPair({});
    const before = inbox.status().lanes[0]!.reports;
    let polls = 0;
    for (let i = 2; i <= 321; i++) {
      t.equal(outbox.trySend(content(i, 8)), i, 'there is always room');
      for (const end = polls + 10; count() < i && polls < end; polls++) poll();
    }
    t.equal(count(), 321);
    const reports = inbox.status().lanes[0]!.reports - before;
    // However slow this is: the clock is looked at once in 64 polls.
    const byTime = Math.floor(polls / 64) + 1;
    t.ok(reports >= 320 / 64 && reports <= 320 / 32 + byTime, `${reports} reports of 320 messages in ${polls} polls`);
    t.ok(320 / 32 + byTime < 320 / 16, 'fewer than one for a quarter of the lane');
    polls = 0;
    for (; outbox.unacknowledged > 0 && polls < 5000; polls++) poll();
    t.equal(outbox.unacknowledged, 0, `reported after ${polls} empty polls`);
    await outbox.close();
    await inbox.close();
  },
);

void t.test('a producer that may retain little waits for no empty polls', async (t) => {
  const { inbox, outbox, poll } = await quickPair({ retainMessages: 4 });
  let polls = 0;
  for (let i = 2; i <= 201 && polls < 10_000; ) {
    if (outbox.trySend(content(i, 8)) > 0) i++;
    else polls++;
    poll();
  }
  t.equal(outbox.sequence, 201);
  t.ok(polls < 2000, `${polls} empty polls`);
  await outbox.close();
  await inbox.close();
});

void t.test('an outbox hears of a report by its next poll, and of what has failed by one of the next', async (t) => {
  const { inbox, outbox, poll } = await quickPair({ slots: 2, reconnectMs: 0 });
  for (let i = 2; i <= 40; i++) {
    t.equal(outbox.trySend(content(i, 8)), i);
    for (let polls = 0; outbox.acknowledged < i - 1 && polls < 5; polls++) poll();
  }
  t.ok(outbox.acknowledged >= 39);
  failQueuePair(outbox);
  let polls = 0;
  for (; outbox.connected && polls < 1000; polls++) outbox.poll();
  t.notOk(outbox.connected, `noticed by poll ${polls}`);
  t.ok(polls <= 64);
  await outbox.close();
  await inbox.close();
});
