// Proves that each request is counted at its one end, and GPU time where it went.
import t from 'tap';
import { Tally } from '../../../src/ts/planner/fleet/tally.js';

void t.test('a request is served, refused or late', async (t) => {
  const tally = new Tally(4);
  t.equal(tally.left, 4);
  tally.served(2, 1.5);
  tally.refused(0);
  tally.late(3);
  t.same([tally.left, tally.rejected, tally.expired], [1, 1, 1]);
  t.same([...tally.latencyS], [Number.NaN, 0, 1.5, Number.NaN], 'one has not ended');
});

void t.test('GPU time: a task counts when it begins, without what it lacks when it stops', async (t) => {
  const tally = new Tally(1);
  tally.began(10, 2, 4);
  t.same([tally.busyGpuS, tally.switchGpuS], [40, 8]);
  tally.stopped(2.5, 4);
  t.same([tally.busyGpuS, tally.switchGpuS], [30, 8]);
});
