// Proves: every measurement runs on the software device, beside what it is judged by, prints one document or one table,
// and leaves nobody behind.
import t, { type Test } from 'tap';
import { deviceTests } from '../../../src/ts/bench/device/tests.js';
import { childrenOf, onepiece, scratch, start, until } from '../../cli/command.js';

const cwd = scratch();
const SMALL = ['--iterations', '2000', '--size', '64k,1m,16m', '--idle-seconds', '1'];

interface Row {
  test: string;
  peer: string | null;
  sizeBytes: number;
  latencyUs: { p50: number | null; p99: number | null; p999: number | null };
  messagesPerSecond: number | null;
  figure: { value: number; unit: string } | null;
  details: Record<string, number>;
}

async function bench(t: Test, ...args: string[]): Promise<{ results: Row[]; comparisons: { ratio: number }[] }> {
  const ended = await onepiece(['bench', 'device', ...SMALL, ...args, '--json'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  t.equal(ended.stderr, '');
  const report = JSON.parse(ended.stdout);
  t.equal(report.schemaVersion, 2);
  return report;
}

void t.test('everything is measured, in order', async (t) => {
  const { results, comparisons } = await bench(t);
  const ours = results.filter(({ peer }) => peer === null);
  t.strictSame([...new Set(ours.map((r) => r.test))], deviceTests);
  for (const { test, figure } of ours) {
    t.ok(figure !== null && figure.value >= 0, `${test}: ${JSON.stringify(figure)}`);
  }
  for (const { test, latencyUs } of results.filter(({ latencyUs }) => latencyUs.p50 !== null)) {
    const { p50, p99, p999 } = latencyUs;
    t.ok(p50! > 0 && p50! <= p99! && p99! <= p999!, `${test}: ${JSON.stringify(latencyUs)}`);
  }
  const of = (test: string) => ours.find((r) => r.test === test)!;
  t.ok(of('write-batch').messagesPerSecond! > 10_000);
  t.strictSame(
    results.filter((r) => r.test === 'write-copy').map((r) => [r.peer, r.sizeBytes]),
    [65_536, 2 ** 20, 2 ** 24].flatMap((size) => [
      [null, size],
      ['memcpy', size],
    ]),
  );
  t.strictSame(
    results.filter((r) => r.test === 'wake').map((r) => r.peer),
    [null, 'eventfd'],
  );
  t.equal(comparisons.length, 4, 'memcpy at three sizes, and the eventfd');
  t.ok(of('idle').details.threads! >= 2, 'the engine thread is counted');
  t.ok(of('idle').details.wakes! < 20, `${of('idle').details.wakes} wakes of an idle process in a second`);
  t.ok(of('event-loop').details.writeMs! > of('event-loop').figure!.value, 'the event loop turned meanwhile');
});

void t.test('a table names every measurement', async (t) => {
  const ended = await onepiece(['bench', 'device', '--iterations', '500', '--only', 'read,write-seen'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, /p50 us +p99 us +p99\.9 us +FIGURE +OURS TO IT/);
  t.match(ended.stdout, /WRITE of 64 B until the target sees it .* us$/m);
  t.match(ended.stdout, /READ of 64 B, round trip .* us$/m);
  t.notMatch(ended.stdout, /idle/);
});

void t.test('Ctrl-C ends both sides', async (t) => {
  for (const [signal, test] of [
    ['SIGINT', 'idle'],
    ['SIGTERM', 'write-seen'],
  ] as const) {
    const args = ['--only', test, '--iterations', '10000000', '--idle-seconds', '60'];
    const { child, ended } = start(['bench', 'device', ...args], cwd);
    const [target] = await until(
      'the other side runs',
      () => {
        const children = childrenOf(child.pid!);
        return children.length > 0 && children;
      },
      20_000,
    );
    child.kill(signal);
    const { code, stdout } = await ended;
    t.equal(code, signal === 'SIGINT' ? 130 : 143);
    t.equal(stdout, '');
    t.throws(() => process.kill(target!, 0), { code: 'ESRCH' });
  }
});

void t.test('who loses the other side says so', async (t) => {
  const { child, ended } = start(['bench', 'device', '--only', 'idle', '--idle-seconds', '60'], cwd);
  const [target] = await until(
    'the other side runs',
    () => {
      const children = childrenOf(child.pid!);
      return children.length > 0 && children;
    },
    20_000,
  );
  process.kill(target!, 'SIGKILL');
  const { code, stderr } = await ended;
  t.equal(code, 1);
  t.match(stderr, /RDMA_ERR_PEER_GONE/);
});
