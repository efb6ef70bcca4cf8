// Proves that what a pipeline remembers of its restarts is bounded, and that it counts all of them.
import t from 'tap';
import { KEPT_RESTARTS, RestartLog } from '../../src/ts/cluster/restart-log.js';

void t.test('the last restarts are kept in order, and all are counted by place and kind', async (t) => {
  const log = new RestartLog();
  const reasons = ['hang: it was stopped', 'signal SIGKILL', 'poison: exit code 3', 'task-timeout: x', 'cancel: y'];
  for (let i = 0; i < 1000; i++) {
    const stage = i % 4 === 0 ? 'a' : 'b';
    log.add({ stage, instance: i % 2, reason: reasons[i % 5]!, at: i, delayMs: 0, failed: [] });
  }
  t.equal(log.last.length, KEPT_RESTARTS);
  t.same(
    log.last.map(({ at }) => at),
    Array.from({ length: KEPT_RESTARTS }, (_, i) => 1000 - KEPT_RESTARTS + i),
  );
  const counts = log.totals.map(({ stage, instance, count }) => [`${stage}/${instance}`, count]);
  t.same(Object.fromEntries(counts), { 'a/0': 250, 'b/0': 250, 'b/1': 500 });
  for (const { count, kinds } of log.totals) {
    t.equal(
      Object.values(kinds).reduce((sum, each) => sum + each, 0),
      count,
    );
    for (const kind of Object.values(kinds)) t.equal(kind, count / 5);
  }
});
