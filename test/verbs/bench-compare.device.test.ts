// Proves: on a device of the kernel, the benchmarks and perftest's run in turn and their ratio is printed. The bounds
// are of sanity, not of speed: other work on the machine must not fail a test.
import t from 'tap';
import { groupOf, scratch, start } from '../cli/command.js';
import { deviceName, isSoft } from './support.js';

/** A peer whose two processes take turns on one processor needs milliseconds instead of tens of microseconds. */
const LOOSEST = 900;

for (const [test, size] of [
  ['write-lat', '64'],
  ['read-lat', '64'],
  ['send-lat', '64'],
  ['write-bw', '64k'],
] as const) {
  const skip = isSoft ? 'perftest cannot run on soft0' : false;
  void t.test(`${test} beside perftest`, { skip }, async (t) => {
    const args = ['bench', test, '-d', deviceName, '-s', size, '-n', '100', '--warm-up', '500', '--rounds', '1'];
    const { child, ended } = start([...args, '--compare', 'perftest', '--json'], scratch());
    const { code, stdout, stderr } = await ended;
    t.equal(code, 0, stderr);
    const { comparisons, results } = JSON.parse(stdout);
    t.equal(comparisons.length, 1);
    const { ours, theirs, ratio } = comparisons[0];
    t.ok(ours > 0 && theirs > 0 && ratio > 1 / LOOSEST && ratio < LOOSEST, JSON.stringify(comparisons[0]));
    t.equal(results[0].peer, null);
    t.match(results[1].peer, /^perftest .* ib_/);
    t.equal(results[0].sizeBytes, results[1].sizeBytes);
    t.strictSame(groupOf(child.pid!), []);
  });
}
