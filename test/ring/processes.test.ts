// Proves the protocol between real processes: every byte of every producer arrives in order, whoever is killed, stopped
// or started again in the middle.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import type { InboxMessage, LaneEvent } from '../../src/ts/ring/index.js';
import { Collector } from './collector.js';
import type { ProducerArgs } from './producer-main.js';
import { RawProducer } from './raw-producer.js';
import { type Child, hasContent, openInbox, random, start, until, untilStopped } from './support.js';

const produce = (args: ProducerArgs): Child => start('producer-main', args);

void t.test('many producers at once: all messages of all of them, in order, byte for byte', async (t) => {
  const collector = new Collector();
  const inbox = await openInbox({
    onMessage: (message) => {
      collector.take(message);
      message.done();
    },
  });
  const { port } = inbox.bootstrap;
  const names = ['a', 'b', 'c', 'd'];
  const children = names.map((name, salt) =>
    produce({ port, name, messages: 1500, salt: salt * 1e6, slots: 4 << salt, wait: salt % 2 ? 'event' : 'adaptive' }),
  );
  for (const child of children) t.match(await child.hear('done'), { messages: 1500, resent: 0, connects: 1 });
  for (const name of names) t.equal(collector.count(name), 1500);
  t.strictSame(collector.problems, []);
  for (const child of children) t.strictSame(await child.exited, { code: 0, signal: null });
  await until('all lanes are fenced', () => inbox.laneCount === 0);
  t.equal(inbox.counters.quarantined, 0);
  await inbox.close();
});

void t.test('producers killed at any moment: their lanes are fenced, the others do not notice', async (t) => {
  const collector = new Collector();
  const events: LaneEvent[] = [];
  const perName = new Map<string, number>();
  const killAt = new Map<string, { count: number; child: Child }>();
  const inbox = await openInbox({
    onLane: (event) => events.push(event),
    onMessage: (message) => {
      collector.take(message);
      message.done();
      const count = (perName.get(message.from) ?? 0) + 1;
      perName.set(message.from, count);
      const victim = killAt.get(message.from);
      if (victim?.count === count) victim.child.process.kill('SIGKILL');
    },
  });
  const { port } = inbox.bootstrap;
  const steady = produce({ port, name: 'steady', messages: 4000, salt: 9 });
  const pick = random(20260731);
  for (let round = 0; round < 5; round++) {
    const name = `victim-${round}`;
    const child = produce({ port, name, messages: 1e6, salt: round });
    killAt.set(name, { child, count: 1 + pick(400) });
    t.match(await child.exited, { signal: 'SIGKILL' });
    await until(`${name} is fenced`, () => events.some((event) => event.type === 'fenced' && event.from === name));
    if (round < 4) continue;
    const again = produce({ port, name: 'again', messages: 50, salt: 77 });
    t.match(await again.hear('done'), { messages: 50 }, 'a new incarnation works');
  }
  t.match(await steady.hear('done'), { messages: 4000, resent: 0, connects: 1 });
  t.equal(collector.count('steady'), 4000);
  t.equal(collector.count('again'), 50);
  t.strictSame(collector.problems, []);
  await until('all lanes are fenced', () => inbox.laneCount === 0);
  await inbox.close();
});

void t.test('a producer that wakes after its lane was fenced writes nowhere, and goes on where it was', async (t) => {
  const collector = new Collector();
  const held: InboxMessage[] = [];
  let hold = false;
  let stopAt = 0;
  let total = 0;
  const inbox = await openInbox({
    onMessage: (message) => {
      collector.take(message);
      // Stopped from here, it stops anywhere: between two messages, or in the middle of one.
      if (++total === stopAt) hold = child.process.kill('SIGSTOP');
      if (hold) held.push(message);
      else message.done();
    },
  });
  stopAt = 150;
  const child = produce({ port: inbox.bootstrap.port, name: 'sleeper', messages: 1500, salt: 5, slots: 16 });
  const producer = (await child.hear('identity')) as string;
  for (let round = 1; round <= 4; round++) {
    const fences = inbox.counters.fences;
    await until(`it is stopped for the ${round}. time`, () => hold);
    await untilStopped(child);
    // Somebody comes with its name, which fences it, and goes again.
    const thief = await RawProducer.connect(inbox, { producer, name: 'sleeper', retainMessages: 64 });
    await until('the lane of the sleeper is fenced', () => inbox.counters.fences === fences + 1);
    const before = held.map((message) => message.bytes.slice());
    child.process.kill('SIGCONT');
    await until('it comes back and takes its name', () => inbox.counters.fences >= fences + 2);
    thief.close();
    t.strictSame(held.map((message) => message.bytes.slice()).slice(0, before.length), before, 'the canary lives');
    hold = false;
    stopAt = total + 137 * round;
    for (const message of held.splice(0)) {
      const [number = 0, salt = 0] = new Uint32Array(message.bytes.slice(0, 8).buffer);
      if (!hasContent(message.bytes.subarray(8), number ^ salt)) t.fail('bytes that were held have changed');
      message.done();
    }
  }
  t.match(await child.hear('done'), { messages: 1500 });
  t.equal(collector.count('sleeper'), 1500);
  t.strictSame(collector.problems, [], 'no message twice, none left out');
  await until('all lanes are fenced', () => inbox.laneCount === 0);
  await inbox.close();
});

void t.test('the consumer is killed and started elsewhere, again and again: nothing is lost', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'onepiece-ring-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const portFile = path.join(folder, 'port');
  const seen = new Map<string, Set<number>>();
  const problems: unknown[] = [];
  let twice = 0;
  const consume = async (dieAfter: number): Promise<Child> => {
    const child = start('inbox-main', { portFile, dieAfter });
    child.process.on('message', ({ got, problem }: { got?: [string, number]; problem?: string }) => {
      if (problem !== undefined) problems.push(problem);
      if (got === undefined) return;
      const set = seen.get(got[0]) ?? new Set();
      seen.set(got[0], set);
      if (set.has(got[1])) twice++;
      set.add(got[1]);
    });
    await child.hear('listening');
    return child;
  };
  let consumer = await consume(400);
  const names = ['x', 'y'];
  const producers = names.map((name, salt) => produce({ port: 0, portFile, name, messages: 1000, salt }));
  for (const dieAfter of [300, 200, 0]) {
    t.match(await consumer.exited, { signal: 'SIGKILL' });
    consumer = await consume(dieAfter);
  }
  for (const producer of producers) t.match(await producer.hear('done'), { messages: 1000 });
  await until('the consumer has said all that it got', () => names.every((name) => seen.get(name)?.size === 1000));
  t.strictSame(problems, []);
  t.ok(twice >= 9, `${twice} came again, as they were not acknowledged`);
  for (const producer of producers) t.match(await producer.exited, { code: 0 });
  consumer.process.kill('SIGKILL');
  await consumer.exited;
});
