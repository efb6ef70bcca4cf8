// Proves: under the same faults lanes neither block, lose, tear nor duplicate; a lock without a time-out blocks, and
// one with a time-out loses what it had acknowledged; and the same seed prints the same document.
import t from 'tap';
import { deadlockBench } from '../../../bench/peers/deadlock/deadlock.js';
import { onepiece, scratch } from '../../cli/command.js';

// In these, a producer dies with the lock (53), and one that has lost it writes over a message that was acknowledged
// (46).
const few = { seed: 1, trials: 120 };
const folder = scratch();

void t.test('lanes: nothing is lost, torn or duplicated, and nobody waits for ever', async (t) => {
  const result = await deadlockBench({ protocol: 'lanes', ...few, trials: 300 });
  const { deadlocks, lost, torn, duplicated, recoveryMs } = result;
  t.strictSame({ deadlocks, lost, torn, duplicated }, { deadlocks: 0, lost: 0, torn: 0, duplicated: 0 });
  t.ok(recoveryMs.faults > 200, `${recoveryMs.faults} faults while others had something to send`);
  t.equal(recoveryMs.never, 0);
  t.ok(recoveryMs.p50 !== null && recoveryMs.p99 !== null && recoveryMs.p50 <= recoveryMs.p99);
});

void t.test('a lock without a time-out: whoever dies with it stops all others', async (t) => {
  const { deadlocks, lost, torn, duplicated, recoveryMs } = await deadlockBench({ protocol: 'lock', ...few });
  t.ok(deadlocks > 0, `${deadlocks} deadlocks`);
  t.ok(recoveryMs.never > 0);
  t.strictSame({ lost, torn, duplicated }, { lost: 0, torn: 0, duplicated: 0 }, 'but it is safe');
});

void t.test(
  'a lock with a time-out: nobody waits for ever, and a late writer destroys what was acknowledged',
  async (t) => {
    const { deadlocks, lost, torn, duplicated } = await deadlockBench({ protocol: 'lock-timeout', ...few });
    t.equal(deadlocks, 0);
    t.ok(lost > 0, `${lost} lost`);
    t.strictSame({ torn, duplicated }, { torn: 0, duplicated: 0 }, 'its checksum and its numbers see to that');
  },
);

void t.test('the command prints the same document for the same seed, with a result for each protocol', async (t) => {
  const args = ['bench', 'deadlock', '--trials', '5', '--seed', '7', '--json'];
  const [first, second] = await Promise.all([onepiece(args, folder), onepiece(args, folder)]);
  t.equal(first.code, 0, first.stderr);
  t.equal(first.stderr, '');
  t.equal(first.stdout, second.stdout);
  const document = JSON.parse(first.stdout);
  t.equal(document.schemaVersion, 1);
  t.strictSame(
    document.results.map((result: { protocol: string }) => result.protocol),
    ['lock', 'lock-timeout', 'lanes'],
  );
  for (const result of document.results) {
    for (const name of ['trials', 'deadlocks', 'lost', 'torn', 'duplicated']) t.type(result[name], 'number', name);
    t.type(result.recoveryMs, 'object');
    t.equal(result.trials, 5);
  }
});

void t.test('a wrong number of trials is a usage error', async (t) => {
  const { code, stderr } = await onepiece(['bench', 'deadlock', '--trials', '0'], folder);
  t.equal(code, 2);
  t.match(stderr, /whole number from 1/);
});
