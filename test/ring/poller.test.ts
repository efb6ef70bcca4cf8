// Proves what a poller promises: on a scripted device and clock who is looked at when, that promises go on between two
// looks, that the event loop gets its turn, and that it sleeps; on the device that all members are served.
import t from 'tap';
import { type Clock, Poller } from '../../src/ts/ring/index.js';
import type { PortDevice } from '../../src/ts/ring/port.js';
import type { CompletionDriver } from '../../src/ts/ring/pump.js';
import { content, DEVICE, hasContent, openInbox, openOutbox, thrownCode, until } from './support.js';

/** What a look at the clock takes. */
const LOOK_MS = 0.001;

/** A clock and a device that do what a test says. */
class Stage {
  nowMs = 0;
  turns: (() => void)[] = [];
  armed = 0;
  channels = 0;
  wake: () => void = () => {};
  readonly clock: Clock = {
    now: () => {
      this.nowMs += LOOK_MS;
      return this.nowMs;
    },
    after: () => () => {},
    soon: (call) => void this.turns.push(call),
  };
  readonly device = {
    createCompletionChannel: (onEvent: () => void) => {
      this.channels++;
      this.wake = onEvent;
      return { close: () => void this.channels-- };
    },
    createCompletionQueue: () => ({ closed: false, requestNotify: () => void this.armed++, close: () => {} }),
  } as unknown as PortDevice;
  readonly poller: Poller;

  constructor(pollUs: number) {
    this.poller = new Poller({ pollUs, clock: this.clock });
  }

  join(kind: 'inbox' | 'outbox', drain: (looks: number) => number, beforeSleep = () => {}): CompletionDriver {
    return this.poller.join({ kind, device: this.device, clock: this.clock, capacity: 8, drain, beforeSleep });
  }

  turn(): void {
    for (const call of this.turns.splice(0)) call();
  }

  /** Runs everything until it sleeps. */
  async rest(): Promise<void> {
    const { poller } = this;
    for (let i = 0; i < 10_000; i++) {
      const { sleeps } = poller.status();
      await new Promise((resolve) => setImmediate(resolve));
      if (this.turns.length === 0 && sleeps === poller.status().sleeps) return;
      this.turn();
    }
    throw new Error('it does not come to rest');
  }
}

/** Answers these numbers one after the other, then 0. */
const scripted = (...counts: number[]) => {
  const looks: number[] = [];
  const drain = (count: number): number => {
    looks.push(count);
    return counts.shift() ?? 0;
  };
  return { looks, drain };
};

void t.test('options are checked at the door', async (t) => {
  for (const pollUs of [-1, 10_001, 0.5, Number.NaN, '50']) {
    t.equal(
      thrownCode(() => new Poller({ pollUs: pollUs as number })),
      'RDMA_ERR_INVALID_ARGUMENT',
    );
  }
  const poller = new Poller();
  for (const wait of ['busy', 'event'] as const) {
    await t.rejects(openInbox({ poller, wait }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
    await t.rejects(openOutbox({ host: '127.0.0.1', port: 1 }, { poller, wait }), {
      code: 'RDMA_ERR_INVALID_ARGUMENT',
    });
  }
  await t.rejects(openInbox({ poller: {} as Poller }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  const foreign = new Poller({ clock: new Stage(0).clock });
  await t.rejects(openInbox({ poller: foreign }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.match(poller.status(), { inboxes: 0, outboxes: 0, wakes: 0 });
});

void t.test('what a look has resolved goes on before the next look, through many promises', async (t) => {
  const stage = new Stage(50);
  const seen: string[] = [];
  let resolve: () => void = () => {};
  const chain = (async () => {
    await new Promise<void>((done) => {
      resolve = done;
    });
    seen.push('first');
    for (let i = 0; i < 8; i++) await null;
    seen.push('last');
  })();
  const counts = [1, 1, 0];
  stage.join('inbox', () => {
    seen.push('look');
    const count = counts.shift() ?? 0;
    if (count > 0) resolve();
    return count;
  });
  stage.wake();
  t.strictSame(seen, ['look'], 'one look, and back');
  await chain;
  t.strictSame(seen.slice(0, 3), ['look', 'first', 'look']);
  t.ok(seen.filter((each) => each === 'look').length <= 12, 'each step of the chain costs one look at most');
  await stage.rest();
});

void t.test('another source is looked at as inboxes are, until it leaves', async (t) => {
  const stage = new Stage(50);
  const inbox = scripted();
  stage.join('inbox', inbox.drain);
  let waiting = 0;
  let handled = 0;
  const source = stage.poller.attach(() => {
    const count = waiting;
    waiting = 0;
    handled += count;
    return count;
  });
  waiting = 2;
  source.wake();
  t.equal(handled, 2, 'its doorbell has the loop look at it');
  await new Promise<void>((resolve) => queueMicrotask(resolve));
  waiting = 1;
  await stage.rest();
  t.equal(handled, 3, 'polling finds what came meanwhile, without a doorbell');
  t.match(stage.poller.status(), { wakes: 1, hits: 1, polls: 2, sleeps: 1 });
  t.ok(inbox.looks.length > 0, 'inboxes are looked at beside it');
  waiting = 1;
  stage.wake();
  await stage.rest();
  t.equal(handled, 4, 'whoever else wakes the loop has it looked at too');
  source.leave();
  waiting = 1;
  stage.wake();
  await stage.rest();
  t.equal(handled, 4);
});

void t.test('a source learns when it is polled for, and that it has to ring before the last look', async (t) => {
  const stage = new Stage(20);
  const seen: string[] = [];
  let waiting = 0;
  let late = 1;
  const source = stage.poller.attach(
    () => {
      const count = waiting;
      waiting = 0;
      seen.push(`${count}`);
      return count;
    },
    (polls) => {
      seen.push(polls ? 'polls' : 'rings');
      // Comes just now, and rings no doorbell.
      if (!polls) waiting = late--;
      if (late < 0) late = 0;
    },
  );
  waiting = 1;
  source.wake();
  await stage.rest();
  t.same(
    seen.filter((what) => what !== '0'),
    ['1', 'polls', 'rings', '1', 'polls', 'rings'],
  );
  t.equal(seen.at(-2), 'rings');
  t.equal(seen.at(-1), '0');
  t.equal(stage.poller.status().sleeps, 1);
  source.leave();
});

void t.test('it polls for its window, arms all queues, looks at all once more and sleeps', async (t) => {
  const stage = new Stage(50);
  const inbox = scripted(1);
  const outbox = scripted();
  let flushes = 0;
  stage.join('inbox', inbox.drain, () => void flushes++);
  stage.join('outbox', outbox.drain);
  t.equal(stage.channels, 1, 'one channel for one device');
  stage.armed = 0;
  stage.wake();
  await stage.rest();
  t.match(stage.poller.status(), { wakes: 1, emptyWakes: 0, polls: 1, hits: 0, sleeps: 1 });
  t.equal(stage.armed, 2);
  t.ok(stage.poller.status().polledUs >= 45 && stage.poller.status().polledUs < 60);
  t.ok(flushes >= 1);
  t.ok(inbox.looks.length > 2 * outbox.looks.length, 'inboxes more often than outboxes');
  t.ok(
    inbox.looks.some((looks) => looks > 32),
    'and others get the processor',
  );
  stage.wake();
  await stage.rest();
  t.match(stage.poller.status(), { wakes: 2, emptyWakes: 1, polls: 1, sleeps: 2 }, 'for nothing it does not poll');
});

void t.test('it does not give the processor away again soon when somebody kept it for long', async (t) => {
  const stage = new Stage(1000);
  let gave = 0;
  let counts = 1;
  stage.join('inbox', (looks) => {
    if (looks > 1) {
      gave++;
      stage.nowMs += 3;
    }
    return counts-- > 0 ? 1 : 0;
  });
  stage.wake();
  await stage.rest();
  t.equal(gave, 1);
  for (let i = 0; i < 5; i++) {
    counts = 1;
    stage.wake();
    await stage.rest();
  }
  t.equal(gave, 1, 'woken again it sleeps before it would');
  t.ok(stage.poller.status().polledUs < 5 * 1000, `${stage.poller.status().polledUs} us`);
  stage.nowMs += 1000;
  counts = 1;
  stage.wake();
  await stage.rest();
  t.equal(gave, 2, 'and tries again later');
});

void t.test('what comes between the last look and the arming is found', async (t) => {
  const stage = new Stage(0);
  const outbox = scripted(1, 0, 1);
  stage.join('outbox', outbox.drain);
  stage.wake();
  await stage.rest();
  t.match(stage.poller.status(), { polls: 0, sleeps: 1, polledUs: 0 });
  t.ok(outbox.looks.length >= 4);
});

void t.test('the event loop gets its turn after a millisecond, also when there is always more', async (t) => {
  for (const answer of [0, 1]) {
    const stage = new Stage(10_000);
    let looks = 0;
    let ended = false;
    let flushes = 0;
    stage.join(
      'inbox',
      () => {
        looks++;
        return looks === 1 ? 1 : ended ? 0 : answer;
      },
      () => void flushes++,
    );
    stage.wake();
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(stage.turns.length, 1);
    t.ok(stage.nowMs >= 1 && stage.nowMs < 1.1, `${stage.nowMs} ms`);
    t.ok(flushes >= 1, 'what was held back goes out');
    ended = true;
    await stage.rest();
    t.equal(stage.poller.status().sleeps, 1);
  }
});

void t.test('a member that calls is looked at; a handler that throws stops nobody else', async (t) => {
  const stage = new Stage(50);
  const calm = scripted(0, 0, 0);
  let fails = true;
  const member = stage.join('inbox', () => {
    if (!fails) return 0;
    fails = false;
    throw new Error('of a handler');
  });
  stage.join('outbox', calm.drain);
  member.schedule();
  member.schedule();
  t.equal(stage.turns.length, 1);
  t.throws(() => stage.turn(), { message: 'of a handler' });
  t.equal(calm.looks.length, 0);
  await stage.rest();
  t.ok(calm.looks.length > 0);
  t.equal(stage.poller.status().sleeps, 1);
});

void t.test(
  'a member that leaves in the middle of a look, and the last one, which takes the channel along',
  async (t) => {
    const stage = new Stage(50);
    const second = scripted();
    const first: CompletionDriver = stage.join('inbox', () => {
      first.close();
      return 1;
    });
    const other = stage.join('inbox', second.drain);
    stage.wake();
    await stage.rest();
    t.match(stage.poller.status(), { inboxes: 1, sleeps: 1 });
    t.equal(stage.channels, 1);
    other.close();
    other.close();
    t.equal(stage.channels, 0);
    stage.poller.expect();
    await stage.rest();
  },
);

void t.test(
  'two inboxes and two outboxes of one process, with promises between them, also after a pause',
  async (t) => {
    const poller = new Poller();
    let answered = 0;
    const back = await openInbox({
      poller,
      onMessage: (message) => {
        answered++;
        message.done();
      },
    });
    const there = await openInbox({
      poller,
      onMessage: async (message) => {
        await null;
        if (!hasContent(message.bytes, message.sequence)) t.fail('other bytes');
        await home.send(message.bytes);
        message.done();
      },
    });
    const out = await openOutbox(there, { poller });
    const home = await openOutbox(back, { poller });
    t.match(poller.status(), { inboxes: 2, outboxes: 2 });
    for (let i = 1; i <= 300; i++) {
      await out.send(content(i, (i * 37) % 4097));
      if (i % 50 === 0) await until('all are answered', () => answered === i);
    }
    await out.whenAcknowledged();
    await home.whenAcknowledged();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const before = { ...poller.status(), ...process.cpuUsage() };
    await new Promise((resolve) => setTimeout(resolve, 300));
    const after = { ...poller.status(), ...process.cpuUsage() };
    t.equal(after.wakes, before.wakes, 'idle: no wakes');
    t.equal(after.sleeps, before.sleeps);
    t.equal(after.polledUs, before.polledUs, 'and no polling');
    // In an emulator the test itself takes longer.
    if (DEVICE === 'soft0') t.ok(after.user - before.user < 100_000, 'and no processor');
    for (const each of [out, home, back, there]) await each.close();
    t.match(poller.status(), { inboxes: 0, outboxes: 0 });
  },
);
