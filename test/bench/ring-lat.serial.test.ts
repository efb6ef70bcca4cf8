// Proves: the benchmark measures what it says and prints it in the one document that all benchmarks share.
import t from 'tap';
import { percentile } from '../../src/ts/bench/statistics.js';
import { onepiece, scratch } from '../cli/command.js';

void t.test('percentiles are nearest rank', async (t) => {
  t.equal(percentile([1, 2, 3, 4], 0.5), 2);
  t.equal(percentile([1, 2, 3, 4], 0.99), 4);
  t.equal(percentile([7], 0.001), 7);
  t.ok(Number.isNaN(percentile([], 0.5)));
});

void t.test('ring-lat prints one document, an element for each size', async (t) => {
  const ended = await onepiece(
    ['bench', 'ring-lat', '--size', '0,64,64k', '--iterations', '2000', '--json'],
    scratch(),
  );
  t.equal(ended.code, 0, ended.stderr);
  t.equal(ended.stderr, '');
  const report = JSON.parse(ended.stdout);
  t.equal(report.schemaVersion, 1);
  t.ok(report.machine.cpu.length > 0 && report.machine.cores > 0);
  t.strictSame(
    report.results.map((result: { sizeBytes: number }) => result.sizeBytes),
    [0, 64, 65_536],
  );
  for (const result of report.results) {
    t.match(result, { test: 'ring-lat', device: 'soft0', peer: null, iterations: 2000 });
    const { p50, p99, p999 } = result.latencyUs;
    t.ok(p50 > 0.05 && p50 <= p99 && p99 <= p999, JSON.stringify(result.latencyUs));
    t.equal(result.messagesPerSecond, null);
    t.equal(result.gigabytesPerSecond, null);
  }
});
