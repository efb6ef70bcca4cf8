// Proves: strangers who keep an inbox's port busy do not keep an honest producer waiting. The figure is the time that
// it takes to connect, the median of several, beside the same without strangers.
import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import type { Manner, StrangersConfig } from '../connect/strangers-main.js';
import type { Inbox } from '../../src/ts/ring/index.js';
import { openInbox, openOutbox, until } from './support.js';

/** A stranger's port is the inbox's; by the other address of this host there is no local socket, and all is TCP. */
const HOSTS = { 'by the local socket': '127.0.0.1', 'by TCP': '127.0.0.2' };
/** Times below it are those of two processors that others use as well, and say nothing. */
const NOISE_MS = 10;
const SAMPLES = 15;

const children = new Set<ChildProcess>();
t.teardown(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** Strangers at the port of an inbox; ends when they have what they want, or keep trying. */
async function strangers(inbox: Inbox, manner: Manner, count: number, perRound: number): Promise<ChildProcess> {
  const config: StrangersConfig = { host: '127.0.0.1', port: inbox.bootstrap.port, manner, count, perRound };
  const child = fork(path.join(__dirname, '../connect/strangers-main.js'), [JSON.stringify(config)]);
  children.add(child);
  let opened = 0;
  child.on('message', (message: { opened: number }) => {
    opened = message.opened;
  });
  await until('the strangers are there', () => opened >= count);
  return child;
}

async function leave(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  children.delete(child);
}

/** How long a producer waits for its lane, in ms: the median. No attempt but the first may be needed. */
async function waitingMs(inbox: Inbox, host: string): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    const began = performance.now();
    const outbox = await openOutbox({ host, port: inbox.bootstrap.port });
    times.push(performance.now() - began);
    await outbox.close();
    await until('the lane is free', () => inbox.laneCount === 0);
  }
  return times.sort((a, b) => a - b)[SAMPLES >> 1]!;
}

const floods: [Manner, number, number][] = [
  ['idle', 300, 300],
  ['idle', 600, 5],
  ['hello', 300, 300],
  ['hello', 600, 5],
  ['garbage', 300, 5],
  ['leaving', 300, 5],
];

for (const [way, host] of Object.entries(HOSTS)) {
  for (const [manner, count, perRound] of floods) {
    const name = `${count} strangers (${manner}, ${perRound} each 10 ms): a producer ${way} waits at most twice as long`;
    void t.test(name, async (t) => {
      const inbox = await openInbox({ host: '0.0.0.0', onMessage: (message) => message.done() });
      const without = await waitingMs(inbox, host);
      const crowd = await strangers(inbox, manner, count, perRound);
      const beside = await waitingMs(inbox, host);
      t.comment(`without ${without.toFixed(1)} ms, beside them ${beside.toFixed(1)} ms`);
      t.ok(
        beside <= 2 * Math.max(without, NOISE_MS),
        `${without.toFixed(1)} ms without, ${beside.toFixed(1)} ms beside`,
      );
      await leave(crowd);
      await inbox.close();
    });
  }
}

void t.test(
  'a crowd larger than the pool, which never ends, does not reach who comes by the local socket',
  async (t) => {
    const inbox = await openInbox({ host: '0.0.0.0' });
    const without = await waitingMs(inbox, HOSTS['by the local socket']);
    const crowd = await strangers(inbox, 'idle', 2000, 20);
    const beside = await waitingMs(inbox, HOSTS['by the local socket']);
    t.ok(beside <= 2 * Math.max(without, NOISE_MS), `${without.toFixed(1)} ms without, ${beside.toFixed(1)} ms beside`);
    await leave(crowd);
    await inbox.close();
  },
);

void t.test(
  '300 producers that start at once, beside as many strangers, all get in at the first attempt',
  async (t) => {
    const inbox = await openInbox({ host: '0.0.0.0', maxLanes: 300, maxSlots: 8, maxDataBytes: 4096 });
    const crowd = await strangers(inbox, 'hello', 300, 300);
    for (const host of Object.values(HOSTS)) {
      const outboxes = await Promise.all(
        Array.from({ length: 300 }, () => openOutbox({ host, port: inbox.bootstrap.port }, { reconnectMs: 0 })),
      );
      t.equal(inbox.laneCount, 300);
      await Promise.all(outboxes.map((outbox) => outbox.close()));
      await until('the lanes are free', () => inbox.laneCount === 0);
    }
    await leave(crowd);
    await inbox.close();
  },
);
