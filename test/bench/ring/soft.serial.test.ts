// Proves: every benchmark of rings measures on the software device, prints one document, and leaves nobody behind.
import t, { type Test } from 'tap';
import { childrenOf, onepiece, scratch, start, until } from '../../cli/command.js';

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
    const results = await bench(t, 'ring-lat', '--size', '1,64,64k,3m', '--iterations', '100', ...flags);
    t.strictSame(
      results.map((result: { sizeBytes: number }) => result.sizeBytes),
      [1, 64, 65_536, 3 * 2 ** 20],
    );
    for (const result of results) {
      t.match(result, { test: 'ring-lat', device: 'soft0', peer: null, way, iterations: 100, producers: 1 });
      t.ok(inOrder(result.latencyUs), JSON.stringify(result.latencyUs));
      t.ok(inOrder(result.touchedUs), JSON.stringify(result.touchedUs));
      t.equal(result.messagesPerSecond, null);
    }
  });

  if (way === 'pull') continue;
  void t.test(`ring-bw and ring-rate, ${way}: the consumer counts what it holds`, async (t) => {
    const [bw] = await bench(t, 'ring-bw', '--size', '64k', '--iterations', '200', ...flags);
    t.match(bw, { test: 'ring-bw', way, latencyUs: { p50: null }, jainFairness: null });
    t.ok(bw.iterations >= 200 && bw.gigabytesPerSecond > 0 && bw.touchedGigabytesPerSecond > 0, JSON.stringify(bw));
    const [rate] = await bench(t, 'ring-rate', '--iterations', '5000', ...flags);
    t.match(rate, { test: 'ring-rate', way, sizeBytes: 64, touchedGigabytesPerSecond: null });
    t.ok(rate.iterations >= 5000 && rate.messagesPerSecond > 1000, JSON.stringify(rate));
  });

  void t.test(`ring-fan-in, ${way}: one producer, then all of them, each counted`, async (t) => {
    const results = await bench(t, 'ring-fan-in', '--producers', '3', '--iterations', '5000', ...flags);
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
  const ended = await onepiece(['bench', 'ring-lat', '--iterations', '50'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, /TEST +SIZE +WHO +OVER +SAMPLES +p50 us +p99 +p99\.9 +max +READ p50 us +p99\n/);
  t.match(ended.stdout, /ring-lat +64 B +onepiece, copy +soft0 +50 /);
});

void t.test('wrong flags are told, and exit with 2', async (t) => {
  const cases: [string[], RegExp][] = [
    [['ring-lat', '--size', '0'], /size/],
    [['ring-lat', '--size', '2g'], /at most 1073741824 bytes/],
    [['ring-lat', '--producers', '2'], /unknown option '--producers'/],
    [['ring-fan-in', '--producers', '65'], /from 1 to 64/],
    [['ring-bw', '--duration', '0'], /from 1 to 600/],
    [['ring-rate', '--iterations', 'many'], /whole number/],
    [['ring-lat', '--compare', 'unix,pigeon'], /openmpi-shm.*zeromq/],
    [['ring-lat', '--in-place', '--pull'], /one of them/],
    [['ring-bw', '--pull'], /unknown option '--pull'/],
    [['rings', '--in-place'], /unknown option '--in-place'/],
  ];
  for (const [args, says] of cases) {
    const ended = await onepiece(['bench', ...args], cwd);
    t.equal(ended.code, 2, args.join(' '));
    t.match(ended.stderr, says, args.join(' '));
    t.equal(ended.stdout, '');
  }
});

void t.test('a report that cannot be written is told before anything is measured', async (t) => {
  const ended = await onepiece(['bench', 'ring-lat', '--duration', '60', '--report', 'no/where.html'], cwd);
  t.equal(ended.code, 1);
  t.match(ended.stderr, /cannot write no\/where\.html/);
});

void t.test('Ctrl-C ends all processes', async (t) => {
  const { child, ended } = start(['bench', 'ring-fan-in', '--duration', '60', '--producers', '2'], cwd);
  const partners = await until('a producer runs', 20_000, () => {
    const found = childrenOf(child.pid!);
    return found.length > 0 && found;
  });
  child.kill('SIGINT');
  t.equal((await ended).code, 130);
  for (const pid of partners) t.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});

void t.test('when the command is killed, its producers end too', async (t) => {
  const { child, ended } = start(['bench', 'ring-rate', '--duration', '60'], cwd);
  const [partner] = await until('the producer runs', 20_000, () => {
    const found = childrenOf(child.pid!);
    return found.length > 0 && found;
  });
  child.kill('SIGKILL');
  await ended;
  await until('the producer is gone', 5000, () => {
    try {
      process.kill(partner!, 0);
      return false;
    } catch {
      return true;
    }
  });
  t.pass('it is gone');
});
