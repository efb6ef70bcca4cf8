// Proves that `onepiece bench cluster` refuses what makes no sense, and measures a real cluster of processes.
import t from 'tap';
import { NO_NATS } from '../control/nats-server.js';
import { onepiece, scratch } from './command.js';

void t.test('wrong usage', async (t) => {
  for (const [args, words] of [
    [['--only', 'nothing'], /kill, stop, worker, leader/],
    [['--nodes', '1'], /2 to 16|nodes/],
    [['--away-s', 'x'], /away-s/],
  ] as const) {
    const ended = await onepiece(['bench', 'cluster', ...args], scratch());
    t.equal(ended.code, 2, ended.stderr);
    t.match(ended.stderr, words);
  }
});

void t.test('a small run', NO_NATS === undefined ? {} : { skip: NO_NATS }, async (t) => {
  const small = ['--quick', '--nodes', '2', '--lease-ms', '1000', '--seconds', '1', '--no-compare', '--json'];
  const ended = await onepiece(['bench', 'cluster', '--only', 'leader,speed', ...small], scratch());
  t.equal(ended.code, 0, ended.stderr);
  const { rows, ...document } = JSON.parse(ended.stdout) as { rows: { test: string; value: number | null }[] };
  t.match(document, { schemaVersion: 2, test: 'cluster', settings: { nodes: 2 }, peers: [], failures: [] });
  const value = (test: string) => rows.find((row) => row.test === test)?.value ?? Number.NaN;
  t.ok(value('cluster-leader-kill') > 0, 'another one leads');
  t.ok(value('cluster-latency-p50') > 0 && value('cluster-throughput') > 0, 'requests were answered');
  t.equal(value('cluster-speed-failed'), 0);
});
