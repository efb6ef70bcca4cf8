// Proves: our own pipeline is measured in every shape under load, after rests, idle and from its start, and nobody is
// left.
import t, { type Test } from 'tap';
import { onepiece, scratch } from '../../cli/command.js';

const cwd = scratch();
async function bench(t: Test, ...args: string[]) {
  const ended = await onepiece(['bench', 'pipeline', '--mode', 'returned', '--json', ...args], cwd);
  t.equal(ended.code, 0, ended.stderr);
  t.equal(ended.stderr, '');
  const document = JSON.parse(ended.stdout);
  t.equal(document.schemaVersion, 1);
  t.ok(document.machine.cores > 0);
  t.strictSame([document.peers, document.comparisons, document.failures], [{}, [], []]);
  return document.results;
}

void t.test('under load, each shape has all figures', async (t) => {
  const shapes = ['chain', 'diamond', 'shard'];
  const results = await bench(t, '--shape', shapes.join(), '--size', '100k', '--in-flight', '3', '--seconds', '1');
  t.strictSame(
    results.map((r: { shape: string; sizeBytes: number }) => `${r.shape} ${r.sizeBytes}`),
    shapes.map((shape) => `${shape} 102400`),
  );
  for (const r of results) {
    t.match(r, { test: 'pipeline', peer: null, device: 'soft0', mode: 'returned', views: false, inFlight: 3, hops: 4 });
    const { p50, p99, p999 } = r.latencyUs;
    t.ok(p50 > 1 && p50 <= p99 && p99 <= p999, JSON.stringify(r));
    t.ok(Math.abs(r.hopUs.p50 - p50 / 4) < 0.001 && Math.abs(r.hopUs.p999 - p999 / 4) < 0.001);
    t.ok(r.requests > 0 && r.requestsPerSecond > 0 && r.cpuUsPerRequest > 0, JSON.stringify(r));
    t.ok(Math.abs(r.gbPerSecond - (r.requestsPerSecond * r.sizeBytes) / 1e9) < 0.001);
    // Little's law: what is under way is the rate times the time of each.
    const underWay = r.requestsPerSecond * (p50 / 1e6);
    t.ok(underWay < 3.3, `${underWay}`);
    t.ok(r.memoryMiB.rss > 50 && r.memoryMiB.pss > 10 && r.memoryMiB.pss <= r.memoryMiB.rss);
  }
});

void t.test('after rests, and idle', async (t) => {
  const [rest, idle] = await bench(t, '--rest-ms', '20', '--idle-seconds', '1', '--seconds', '1');
  t.match(rest, { test: 'pipeline-rest', sizeBytes: 64, inFlight: 1, restMs: 20, requests: 50 });
  t.equal(rest.requestsPerSecond, null);
  t.ok(rest.latencyUs.p50 > 1);
  t.match(idle, { test: 'pipeline-idle', sizeBytes: 64, idleSeconds: 1 });
  t.ok(idle.cpuPercent >= 0 && idle.cpuPercent < 50, `${idle.cpuPercent}`);
});

void t.test('the start of so many stages', async (t) => {
  const results = await bench(t, '--start', '1,2');
  t.strictSame(
    results.map((r: { stages: number }) => r.stages),
    [1, 2],
  );
  for (const { test, rounds, startMs, memoryMiB } of results) {
    t.strictSame([test, rounds], ['pipeline-start', 3]);
    t.ok(startMs.min > 10 && startMs.min <= startMs.p50 && startMs.p50 <= startMs.max, JSON.stringify(startMs));
    t.ok(memoryMiB.rss > 50);
  }
});

void t.test('the table says whose figures are which', async (t) => {
  const args = [
    'bench',
    'pipeline',
    '--mode',
    'returned,reference',
    '--size',
    '64',
    '--in-flight',
    '1',
    '--seconds',
    '1',
  ];
  const ended = await onepiece(args, cwd);
  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, /SHAPE +SIZE +IN FLIGHT +WHO +p50 us +p99 +p99\.9 +HOP p50 us .*REQUESTS\/s +GB\/s +CPU us/);
  t.match(ended.stdout, /chain +64 B +1 +onepiece, returned /);
  t.match(ended.stdout, /chain +64 B +1 +onepiece, reference /);
});
