// Proves that a gateway which dies at any instant loses no accepted job, and gives none a second outcome.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { chaos, type ChaosReport } from './chaos.js';
import { NO_REDIS, RedisServer } from './redis-server.js';

const seed = Math.floor(Math.random() * 2 ** 31);

void t.test('15 kills over a store on disk', async (t) => {
  const place = mkdtempSync(join(tmpdir(), 'onepiece-jobs-'));
  t.teardown(() => rmSync(place, { recursive: true, force: true }));
  judge(t, await chaos({ kind: 'lmdb', place, kills: 15, gateways: 1, leaseMs: 500, stops: false, seed }));
});

void t.test(
  'two gateways on one Redis that are killed and stopped, and Redis too',
  { skip: NO_REDIS ?? false },
  async (t) => {
    const server = await RedisServer.start();
    t.teardown(() => server.stop());
    const between = async (kill: number) => {
      if (kill % 4 !== 2) return;
      await server.kill();
      await server.run();
    };
    const options = { kills: 12, gateways: 2, leaseMs: 500, stops: true, seed, between };
    judge(t, await chaos({ kind: 'redis', place: server.url, ...options }));
  },
);

function judge(
  t: { ok: (ok: boolean, words: string) => unknown; comment: (words: string) => unknown },
  report: ChaosReport,
): void {
  t.comment(`seed ${seed}: ${JSON.stringify(report)}`);
  t.ok(report.accepted >= report.kills, `${report.accepted} jobs were accepted`);
  t.ok(report.repeated > 0, `${report.repeated} were begun again: the kills hit work under way`);
  t.ok(report.problems.length === 0, `${report.problems.join('; ') || 'nothing that must not be'} (seed ${seed})`);
}
