// Measures the control plane on a nats-server of its own: how soon another leads when a leader dies, and what the
// server's processor does for many leases and watchers. Prints one JSON document; not a test.
//
//   node build-test/test/control/measure-main.js [places] [watchers] [seconds]
import { setTimeout as sleep } from 'node:timers/promises';
import { Election, Members, natsControlStore } from '../../src/ts/control/index.js';
import { NatsServer } from './nats-server.js';

const LEASE_MS = 3000;

async function takeovers(server: NatsServer, rounds: number): Promise<number[]> {
  const tookMs: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const [one, two] = [
      await natsControlStore({ servers: server.url }),
      await natsControlStore({ servers: server.url }),
    ];
    const key = `leader${i}`;
    const first = new Election(one, { name: 'first', key, leaseMs: LEASE_MS, storeForgets: false });
    await first.whenLeading();
    const second = new Election(two, { name: 'second', key, leaseMs: LEASE_MS });
    await sleep(LEASE_MS + 1000 * Math.random());
    // It dies: nothing of it renews any more.
    await one.close();
    const diedMs = performance.now();
    await second.whenLeading();
    tookMs.push(Math.round(performance.now() - diedMs));
    await second.close();
    await two.close();
    await first.close();
  }
  return tookMs;
}

/** The share of a core that the server uses while so many leases are renewed each second, and so many watch them. */
async function load(server: NatsServer, places: number, watchers: number, seconds: number): Promise<number> {
  const prefix = `load${places}x${watchers}.`;
  const stores = await Promise.all(Array.from({ length: watchers }, () => natsControlStore({ servers: server.url })));
  const members = stores.map((store) => new Members(store, { prefix, leaseMs: LEASE_MS }));
  for (const each of members) await each.whenSynced();
  for (let i = 0; i < places; i++) await members[i % watchers]!.join(`stage/${i}`, { port: 7000 + i });
  await sleep(2 * LEASE_MS);
  const there = members.map((each) => each.list().length);
  if (there.some((count) => count !== places)) throw new Error(`not all are there: ${there.join()}`);
  const [cpuMs, beganMs] = [server.cpuMs(), performance.now()];
  await sleep(seconds * 1000);
  const share = (server.cpuMs() - cpuMs) / (performance.now() - beganMs);
  const after = members.map((each) => each.list().length);
  if (after.some((count) => count !== places)) throw new Error(`some were lost: ${after.join()}`);
  await Promise.all(members.map((each) => each.close()));
  await Promise.all(stores.map((store) => store.close()));
  return share;
}

async function main(): Promise<void> {
  const [places = 200, watchers = 10, seconds = 15] = process.argv.slice(2).map(Number);
  const server = await NatsServer.start();
  try {
    const cpu: Record<string, number> = {};
    for (const [leases, eyes] of [
      [watchers, watchers],
      [places, 2],
      [places, watchers],
    ] as const)
      cpu[`${leases} leases, ${eyes} watchers`] = Number((await load(server, leases, eyes, seconds)).toFixed(3));
    const takeoverMs = await takeovers(server, 5);
    process.stdout.write(
      `${JSON.stringify({ test: 'control', leaseMs: LEASE_MS, takeoverMs, serverCoreShare: cpu })}\n`,
    );
  } finally {
    await server.stop();
  }
}

void main();
