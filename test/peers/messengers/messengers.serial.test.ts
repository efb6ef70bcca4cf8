// Proves: each message system of Node.js is measured beside the rings, by latency, bandwidth and fan-in; its server and
// its processes are gone afterwards, also when the command is killed.
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { messengers } from '../../../bench/peers/messengers/messengers.js';
import { groupOf, onepiece, scratch, start, until } from '../../cli/command.js';
import { lacking } from '../support.js';

const cwd = scratch();
const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith('onepiece-bench-'));

for (const { name, version } of messengers) {
  void t.test(`${name} is installed`, { skip: lacking(version) }, async (t) => {
    t.match(version(), /\d+\.\d+/);
  });
}
const present = messengers.filter(({ version }) => lacking(version) === false);
const names = present.map(({ name }) => name);

async function measure(t: Test, ...args: string[]) {
  const before = left();
  const ended = await onepiece(['bench', ...args, '--compare', names.join(), '--json'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  t.equal(ended.stderr, '');
  const report = JSON.parse(ended.stdout);
  t.strictSame(Object.keys(report.peers).sort(), [...names].sort());
  t.strictSame(report.failures, []);
  t.strictSame(left(), before);
  return report;
}

void t.test('the latency of each is measured, held and read', async (t) => {
  const { results, comparisons } = await measure(t, 'ring-lat', '--size', '64,100k', '--iterations', '50');
  for (const { name, medium } of present) {
    const theirs = results.filter((result: { peer: string }) => result.peer === name);
    t.strictSame(
      theirs.map((result: { sizeBytes: number }) => result.sizeBytes),
      [64, 102_400],
    );
    for (const result of theirs) {
      t.match(result, { test: 'ring-lat', device: medium, way: null, iterations: 50 });
      for (const { min, p50, p99, p999, max } of [result.latencyUs, result.touchedUs]) {
        t.ok(min > 1 && min <= p50 && p50 <= p99 && p99 <= p999 && p999 <= max, JSON.stringify(result));
      }
    }
  }
  t.equal(comparisons.length, 2 * names.length);
  t.ok(comparisons.every((c: { latencyRatio: number }) => c.latencyRatio > 0));
});

void t.test('the bandwidth of each is measured', async (t) => {
  const { results } = await measure(t, 'ring-bw', '--size', '100k', '--iterations', '20');
  t.equal(results.length, 1 + names.length);
  for (const r of results) t.ok(r.gigabytesPerSecond > 0 && r.touchedGigabytesPerSecond > 0, JSON.stringify(r));
});

void t.test('each has several producers, whose shares are counted', async (t) => {
  const { results } = await measure(t, 'ring-fan-in', '--producers', '2', '--iterations', '2000');
  t.equal(results.length, 2 * (1 + names.length));
  for (const result of results.filter(({ producers }: { producers: number }) => producers === 2)) {
    t.equal(result.producerMessagesPerSecond.length, 2);
    t.ok(result.jainFairness >= 0.5 && result.toOneProducer > 0, JSON.stringify(result));
  }
});

/** Processes whose command line names one of these folders. */
function serversIn(folders: readonly string[]): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return command.includes('redis-server') && folders.some((folder) => command.includes(folder));
    } catch {
      return false;
    }
  });
}

const lackOfRedis = lacking(messengers.find(({ name }) => name === 'redis')!.version);
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGKILL', null],
] as const) {
  void t.test(`${signal} ends a comparison with its server`, { skip: lackOfRedis }, async (t) => {
    const before = left();
    const { child, ended } = start(['bench', 'ring-lat', '--duration', '60', '--compare', 'redis'], cwd);
    const fresh = () => left().filter((name) => !before.includes(name));
    await until('its server runs', () => serversIn(fresh()).length > 0 && groupOf(child.pid!).length > 1, 30_000);
    const folders = fresh();
    child.kill(signal);
    t.equal((await ended).code, code);
    await until('nobody is left', () => serversIn(folders).length + groupOf(child.pid!).length === 0, 5000);
    if (signal === 'SIGINT') t.strictSame(fresh(), []);
    // Nobody can clean up after SIGKILL.
    for (const folder of fresh()) rmSync(join(tmpdir(), folder), { recursive: true, force: true });
  });
}
