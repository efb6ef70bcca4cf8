// Proves: a ping-pong warms up without samples, takes as many as the time holds, and leaves out the time that the other
// end spent on writing.
import t from 'tap';
import { measurePingPong, type PingPong, roundsWithin } from '../../../src/ts/bench/kit/ping-pong.js';

/** A side whose rounds take 3 ms, of which 1 is the other side's writing. */
function side(log: string[], most = Number.POSITIVE_INFINITY): PingPong {
  let recorded = 0;
  return {
    record: async (rounds) => {
      log.push(`record ${rounds}`);
      recorded = rounds;
    },
    warmUp: async () => {
      log.push('warm up');
      return 100;
    },
    run: async (samples, end) => {
      log.push(`run ${samples.length} ${Number.isFinite(end) ? 'in time' : 'to the end'}`);
      samples.fill(3);
      return Math.min(samples.length, most);
    },
    writes: async () => new Float64Array(recorded).fill(1),
  };
}

void t.test('by count', async (t) => {
  const log: string[] = [];
  const { rounds, latencyUs } = await measurePingPong(side(log), { iterations: 7, durationS: 1 });
  t.strictSame(log, ['record 0', 'warm up', 'record 7', 'run 7 to the end']);
  t.match({ rounds, latencyUs }, { rounds: 7, latencyUs: { p50: 1000, max: 1000 } });
});

void t.test('by time, and fewer than were wanted', async (t) => {
  const log: string[] = [];
  const { rounds, latencyUs } = await measurePingPong(side(log, 6), { iterations: 0, durationS: 1 });
  t.strictSame(log.slice(2), [`record ${roundsWithin(1, 100)}`, 'run 10 in time']);
  t.match({ rounds, latencyUs }, { rounds: 6, latencyUs: { min: 1000 } }, 'what was not sampled is in no figure');
});
