// node build-test/test/jobs/chaos-main.js lmdb|redis [kills] [seed]: the chaos for as long as you like, with a report in JSON.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chaos } from './chaos.js';
import { RedisServer } from './redis-server.js';

async function main(): Promise<void> {
  const [kind = 'lmdb', kills = '200', seed = `${Math.floor(Math.random() * 2 ** 31)}`] = process.argv.slice(2);
  const common = { kills: Number(kills), leaseMs: 500, seed: Number(seed) };
  if (kind === 'lmdb') {
    const place = mkdtempSync(join(tmpdir(), 'onepiece-jobs-'));
    try {
      report(await chaos({ kind, place, gateways: 1, stops: false, ...common }));
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
    return;
  }
  const server = await RedisServer.start();
  const between = async (kill: number) => {
    if (kill % 10 !== 9) return;
    await server.kill();
    await server.run();
  };
  try {
    report(await chaos({ kind: 'redis', place: server.url, gateways: 2, stops: true, between, ...common }));
  } finally {
    await server.stop();
  }

  function report(result: Awaited<ReturnType<typeof chaos>>): void {
    process.stdout.write(`${JSON.stringify({ schemaVersion: 1, test: 'jobs-chaos', kind, seed, ...result })}\n`);
    process.exitCode = result.problems.length === 0 ? 0 : 1;
  }
}

void main();
