// Proves: whoever is not let in is counted and told of, whatever it did, and events do not come faster than they can be
// read; no refusal is left out of them.
import net from 'node:net';
import t from 'tap';
import { RdmaError } from '../../src/ts/core/errors.js';
import type { LaneEvent } from '../../src/ts/ring/index.js';
import type { Clock } from '../../src/ts/ring/port.js';
import { InboxCounters } from '../../src/ts/ring/status.js';
import { Strangers } from '../../src/ts/ring/strangers.js';
import { codeOf, openInbox, openOutbox, until } from './support.js';

/** A clock that only the test moves. */
class Hand {
  ms = 0;
  private timers: { at: number; call: () => void }[] = [];
  readonly clock: Clock = {
    now: () => this.ms,
    soon: () => undefined,
    after: (ms, call) => {
      const timer = { at: this.ms + ms, call };
      this.timers.push(timer);
      return () => {
        this.timers = this.timers.filter((each) => each !== timer);
      };
    },
  };

  to(ms: number): void {
    this.ms = ms;
    for (const timer of this.timers.filter(({ at }) => at <= ms)) {
      this.timers = this.timers.filter((each) => each !== timer);
      timer.call();
    }
  }

  get waiting(): number {
    return this.timers.length;
  }
}

function scene() {
  const hand = new Hand();
  const counters = new InboxCounters();
  const events: LaneEvent[] = [];
  const strangers = new Strangers(hand.clock, counters, (event) => events.push(event));
  const come = (count: number, reason = 'protocol') => {
    for (let i = 0; i < count; i++) {
      const error = new RdmaError('RDMA_ERR_PROTOCOL', `${reason} ${counters.refused + 1}`);
      strangers.rejected({ reason, remoteAddress: { host: '10.0.0.9', port: 1000 + i }, error });
    }
  };
  const counts = () => events.map(({ count }) => count);
  return { hand, counters, events, strangers, come, counts };
}

void t.test('a few get an event each, a crowd one event with its count, and none is left out', async (t) => {
  const { hand, counters, events, come, counts } = scene();
  come(3);
  t.same(counts(), [1, 1, 1]);
  t.match(events[0], { type: 'refused', from: '10.0.0.9:1000', producer: '', reason: { code: 'RDMA_ERR_PROTOCOL' } });
  hand.to(500);
  come(100);
  t.same(counts(), [1, 1, 1, 1, 1, 1, 1, 1], 'eight, and no more for now');
  hand.to(1000);
  t.equal(counts().at(-1), 95);
  t.match(events.at(-1)?.reason?.message, /protocol 103/, 'the last one is described');
  come(8);
  t.equal(events.length, 9 + 7, 'the sum was the first of its second');
  hand.to(2000);
  t.equal(counts().at(-1), 1);
  t.equal(hand.waiting, 0);
  hand.to(60_000);
  come(1);
  t.equal(
    counts().reduce((sum: number, count) => sum + (count ?? 0), 0),
    counters.refused,
  );
  t.equal(counters.refused, 112);
});

void t.test('the bound holds second for second, whenever they come', async (t) => {
  const { hand, events, come, counters, counts } = scene();
  const times: number[] = [];
  let seen = 0;
  for (let ms = 0; ms < 20_000; ms += 7) {
    hand.to(ms);
    come((ms * 31) % 5);
    for (; seen < events.length; seen++) times.push(ms);
  }
  for (let i = 16; i < times.length; i++) if (times[i]! - times[i - 16]! < 1000) t.fail(`17 events within a second`);
  hand.to(30_000);
  t.equal(
    counts().reduce((sum: number, count) => sum + (count ?? 0), 0),
    counters.refused,
  );
  t.ok(counters.refused > 1000);
});

void t.test('refusals without an event get one when the inbox closes; closing itself is no refusal', async (t) => {
  const { hand, counters, events, strangers, come } = scene();
  come(20);
  come(1, 'closed');
  t.equal(counters.refused, 20);
  strangers.close();
  strangers.close();
  t.equal(events.at(-1)?.count, 12);
  t.equal(hand.waiting, 0);
});

void t.test('wrong secrets, garbage and those who leave: counters, status and events show them', async (t) => {
  const events: LaneEvent[] = [];
  const inbox = await openInbox({ onLane: (event) => events.push(event) });
  t.match(inbox.status().bootstrap, { pending: 0, peers: 0, hasLocalSocket: true, rejected: { unauthenticated: 0 } });
  for (let i = 0; i < 5; i++) {
    t.equal(await codeOf(openOutbox(inbox, { secret: `a guess, number ${i}` })), 'RDMA_ERR_UNAUTHENTICATED');
  }
  t.equal(inbox.counters.refused, 5);
  t.match(events, new Array(5).fill({ type: 'refused', reason: { code: 'RDMA_ERR_UNAUTHENTICATED' }, count: 1 }));
  for (const words of ['GET / HTTP/1.0\r\n\r\n', '']) {
    for (let i = 0; i < 20; i++) {
      const { host, port } = inbox.bootstrap;
      await new Promise<void>((resolve) => {
        const socket = net.connect(port, host, () => (words === '' ? socket.destroy() : socket.write(words)));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
      });
    }
  }
  await until('all are counted', () => inbox.counters.refused === 45);
  t.match(inbox.status().bootstrap?.rejected, { unauthenticated: 5, protocol: 20, disconnected: 20 });
  t.ok(events.length < 20, `${events.length} events`);
  const good = await openOutbox(inbox);
  t.equal(inbox.status().bootstrap?.peers, 1);
  await good.close();
  await inbox.close();
  const told = events.filter(({ type }) => type === 'refused').reduce((sum, { count }) => sum + (count ?? 0), 0);
  t.equal(told, 45, 'each is part of an event');
  t.equal(inbox.status().bootstrap, undefined);
});

void t.test('an onLane that throws harms nobody', async (t) => {
  const thrown: unknown[] = [];
  const catching = (error: unknown) => thrown.push(error);
  process.once('uncaughtException', catching);
  const inbox = await openInbox({
    onMessage: (message) => message.done(),
    onLane: ({ type }) => {
      if (type === 'refused') throw new Error('a bug of the application');
    },
  });
  t.equal(await codeOf(openOutbox(inbox, { secret: 'a wrong secret' })), 'RDMA_ERR_UNAUTHENTICATED');
  await until('the error reaches uncaughtException', () => thrown.length === 1);
  const outbox = await openOutbox(inbox);
  await outbox.send(new Uint8Array(8));
  await outbox.whenAcknowledged(1, { timeoutMs: 5000 });
  await outbox.close();
  await inbox.close();
});
