// Proves: every benchmark measures on the software device, in every mode, prints one document, and leaves nobody
// behind.
import t, { type Test } from 'tap';
import { childrenOf, onepiece, scratch, start, until } from '../../cli/command.js';

const cwd = scratch();
async function bench(t: Test, ...args: string[]) {
  const ended = await onepiece(['bench', ...args, '--json', '--warm-up', '50'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  const report = JSON.parse(ended.stdout);
  t.equal(report.schemaVersion, 1);
  // On a busy machine there are some.
  t.equal(ended.stderr, report.warnings.map((warning: string) => `onepiece: ${warning}\n`).join(''));
  return report.results;
}

for (const args of [
  ['write-lat'],
  ['read-lat'],
  ['send-lat'],
  ['read-lat', '-e'],
  ['send-lat', '-e'],
  ['write-lat', '-I', '64', '-m', '1024'],
]) {
  void t.test(`${args.join(' ')} gives a plausible latency`, async (t) => {
    const results = await bench(t, ...args, '-s', '1,64,64k', '-n', '200');
    t.strictSame(
      results.map((r: { sizeBytes: number }) => r.sizeBytes),
      [1, 64, 65_536],
    );
    for (const r of results) {
      t.match(r, { test: args[0], device: 'soft0', peer: null, iterations: 200, bytes: null, histogram: null });
      const { min, p50, p99, p999, max } = r.latencyUs;
      t.ok(min > 0.01 && min <= p50 && p50 <= p99 && p99 <= p999 && p999 <= max, JSON.stringify(r.latencyUs));
    }
  });
}

for (const args of [
  ['write-bw'],
  ['read-bw'],
  ['send-bw'],
  ['write-bw', '-b'],
  ['read-bw', '-b', '-q', '2'],
  ['send-bw', '-b', '-q', '3'],
  ['send-bw', '-e'],
  ['read-bw', '-e'],
  ['write-bw', '-q', '4', '-l', '8', '-Q', '16', '-t', '32'],
  ['send-bw', '-t', '1', '-r', '1'],
]) {
  void t.test(`${args.join(' ')} moves all its bytes`, async (t) => {
    const results = await bench(t, ...args, '-s', '64,16k', '-n', '300');
    const qps = Number(args[args.indexOf('-q') + 1]) || 1;
    const ways = args.includes('-b') ? 2 : 1;
    for (const r of results) {
      t.equal(r.iterations, 300 * (args.includes('-q') ? qps : 1));
      t.equal(r.bytes, r.iterations * r.sizeBytes * ways);
      t.ok(r.bandwidth.averageMbPerSecond > 0 && r.messagesPerSecond > 0, JSON.stringify(r));
      t.ok(r.bandwidth.peakMbPerSecond > 0);
      t.equal(r.latencyUs.p50, null);
    }
  });
}

void t.test('all sizes, and a table of perftest’s columns', async (t) => {
  const ended = await onepiece(['bench', 'write-lat', '-a', '-n', '5', '--warm-up', '0'], cwd);
  t.equal(ended.code, 0, ended.stderr);
  const lines = ended.stdout.trimEnd().split('\n');
  t.match(
    lines[1],
    /#bytes +#iterations +t_min\[usec\] +t_max\[usec\] +t_typical\[usec\] +t_avg\[usec\] +t_stdev\[usec\] +99% percentile\[usec\] +99\.9% percentile\[usec\]/,
  );
  t.strictSame(
    lines.slice(2).map((line) => Number(line.trim().split(/\s+/)[0])),
    Array.from({ length: 23 }, (_, i) => 2 ** (i + 1)),
  );
});

void t.test('a duration measures for about so long, and a histogram is every sample', async (t) => {
  const begin = performance.now();
  const [timed] = await bench(t, 'read-lat', '-D', '1');
  t.ok(performance.now() - begin > 1000);
  t.ok(timed.iterations > 100);
  const [all] = await bench(t, 'read-lat', '-n', '100', '-H');
  t.equal(all.histogram.length, 100);
  t.equal(all.histogram[0], all.latencyUs.min);
});

void t.test('two commands find each other over TCP', async (t) => {
  const server = start(['bench', 'send-lat', '--listen', '-p', '18599'], cwd);
  let said = '';
  server.child.stderr?.on('data', (text) => (said += text));
  await until('it listens', () => said.includes('waiting'), 20_000);
  const [result] = await bench(t, 'send-lat', '127.0.0.1', '-p', '18599', '-n', '100');
  t.ok(result.latencyUs.p50 > 0);
  t.equal((await server.ended).code, 0);
});

void t.test('Ctrl-C ends both sides', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const { child, ended } = start(['bench', 'write-lat', '-D', '60'], cwd);
    const [server] = await until(
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
    t.throws(() => process.kill(server!, 0), { code: 'ESRCH' });
  }
});
