// Proves: every benchmark of rings measures on the software device, each way, and prints one document.
import t, { type Test } from 'tap';
import { onepiece, scratch } from '../../cli/command.js';

const cwd = scratch();
async function bench(t: Test, ...args: string[]) {
  const ended = await onepiece(['bench', ...args, '--json'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  t.equal(ended.stderr, '');
  const report = JSON.parse(ended.stdout);
  t.equal(report.schemaVersion, 1);
  t.ok(report.machine.cpu.length > 0 && report.machine.cores > 0);
  t.strictSame([report.peers, report.comparisons, report.failures], [{}, [], []]);
  return report.results;
}
const inOrder = ({ min, p50, p99, p999, max }: Record<string, number>) =>
  min! > 0.02 && min! <= p50! && p50! <= p99! && p99! <= p999! && p999! <= max!;

for (const way of ['copy', 'in-place', 'pull']) {
  const flags = way === 'copy' ? [] : [`--${way}`];

  void t.test(`ring-lat, ${way}: each size is measured until it is held and until it is read`, async (t) => {
    const results = await bench(t, 'ring-lat', '--size', '1,64,3m', '--iterations', '20', ...flags);
    t.strictSame(
      results.map((result: { sizeBytes: number }) => result.sizeBytes),
      [1, 64, 3 * 2 ** 20],
    );
    for (const result of results) {
      t.match(result, { test: 'ring-lat', device: 'soft0', peer: null, way, iterations: 20, producers: 1 });
      t.ok(inOrder(result.latencyUs), JSON.stringify(result.latencyUs));
      t.ok(inOrder(result.copiedUs), JSON.stringify(result.copiedUs));
      t.ok(inOrder(result.touchedUs), JSON.stringify(result.touchedUs));
      t.equal(result.messagesPerSecond, null);
    }
  });

  if (way === 'pull') continue;
  void t.test(`ring-bw and ring-rate, ${way}: the consumer counts what it holds`, async (t) => {
    const [bw] = await bench(t, 'ring-bw', '--size', '64k', '--iterations', '200', ...flags);
    t.match(bw, { test: 'ring-bw', way, latencyUs: { p50: null }, jainFairness: null });
    t.ok(bw.iterations >= 200 && bw.gigabytesPerSecond > 0 && bw.touchedGigabytesPerSecond > 0, JSON.stringify(bw));
    const [rate] = await bench(t, 'ring-rate', '--iterations', '2000', ...flags);
    t.match(rate, { test: 'ring-rate', way, sizeBytes: 64, touchedGigabytesPerSecond: null });
    t.ok(rate.iterations >= 2000 && rate.messagesPerSecond > 0, JSON.stringify(rate));
  });

  void t.test(`ring-fan-in, ${way}: one producer, then all of them, each counted`, async (t) => {
    // Enough for each of them to get the core that they share: 2000 are sent within one slice of the scheduler.
    const results = await bench(t, 'ring-fan-in', '--producers', '3', '--iterations', '300000', ...flags);
    t.strictSame(
      results.map((result: { producers: number }) => result.producers),
      [1, 3],
    );
    const [one, three] = results;
    t.equal(one.toOneProducer, null);
    t.ok(Math.abs(three.toOneProducer - three.messagesPerSecond / one.messagesPerSecond) < 0.001);
    t.equal(three.producerMessagesPerSecond.length, 3);
    const sum = three.producerMessagesPerSecond.reduce((a: number, b: number) => a + b);
    t.ok(Math.abs(sum - three.messagesPerSecond) <= 3);
    t.ok(three.jainFairness > 1 / 3 && three.jainFairness <= 1, `${three.jainFairness}`);
  });
}

void t.test('the table says whose figures are which', async (t) => {
  const ended = await onepiece(['bench', 'ring-lat', '--iterations', '20'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, /TEST +SIZE +WHO +OVER +SAMPLES +p50 us +p99 +p99\.9 +max +COPIED p50 us +READ p50 us +p99\n/);
  t.match(ended.stdout, /ring-lat +64 B +onepiece, copy +soft0 +20 /);
});
