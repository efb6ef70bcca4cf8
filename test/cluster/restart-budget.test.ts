// Proves when the process of a place is started again, from a table of what its processes did.
import t from 'tap';
import { RestartBudget } from '../../src/ts/cluster/restart-budget.js';

/** What one process did: how long it took to become ready (never: undefined), and how long it worked then. */
type Life = { startMs: number; workMs?: number };

function live(budget: RestartBudget, lives: readonly Life[]): (number | string)[] {
  let nowMs = 1000;
  const verdicts: (number | string)[] = [];
  for (const { startMs, workMs } of lives) {
    nowMs += startMs;
    if (workMs !== undefined) {
      budget.ready(nowMs);
      nowMs += workMs;
    }
    const verdict = budget.died(nowMs);
    if ('givenUp' in verdict) {
      verdicts.push(verdict.givenUp);
      break;
    }
    verdicts.push(verdict.delayMs);
    nowMs += verdict.delayMs;
  }
  return verdicts;
}

const repeat = (count: number, life: Life) => Array.from({ length: count }, () => life);

void t.test('one that worked is replaced at once, however often', async (t) => {
  const verdicts = live(new RestartBudget(3, 60_000), repeat(50, { startMs: 100, workMs: 30_000 }));
  t.same(verdicts, Array(50).fill(0));
});

void t.test('one that ends at once is replaced later and later, up to ten seconds', async (t) => {
  const verdicts = live(new RestartBudget(1000, 1e9), repeat(11, { startMs: 50 }));
  t.same(verdicts, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
});

void t.test('what a process has worked is taken off its pause, and more than that ends the pauses', async (t) => {
  const lives = [
    ...repeat(3, { startMs: 300, workMs: 80 }),
    { startMs: 300, workMs: 500 },
    { startMs: 300, workMs: 80 },
  ];
  t.same(live(new RestartBudget(1000, 1e9), lives), [0, 20, 120, 0, 20]);
  t.same(live(new RestartBudget(1000, 1e9), repeat(9, { startMs: 300, workMs: 400 })), Array(9).fill(0));
});

void t.test('after a second of work the pauses begin anew', async (t) => {
  const lives = [...repeat(4, { startMs: 1 }), { startMs: 1, workMs: 1000 }, ...repeat(2, { startMs: 1 })];
  t.same(live(new RestartBudget(1000, 1e9), lives), [0, 100, 200, 400, 0, 100, 200]);
});

void t.test('too many deaths within a minute of work are the end', async (t) => {
  const words = /^ended 4 times within a minute of work$/;
  for (const life of [{ startMs: 50 }, { startMs: 50, workMs: 100 }, { startMs: 5000, workMs: 14_000 }]) {
    const verdicts = live(new RestartBudget(3, 1e9), repeat(9, life));
    t.equal(verdicts.length, 4);
    t.match(verdicts[3], words);
  }
});

void t.test('time in which the place does not work makes no death forgotten', async (t) => {
  // Each takes a minute to fail.
  t.equal(live(new RestartBudget(3, 1e9), repeat(9, { startMs: 60_000 })).length, 4);
});

void t.test('a place that is away for too long is the end', async (t) => {
  const budget = new RestartBudget(1000, 20_000);
  const verdicts = live(budget, [{ startMs: 5000, workMs: 90_000 }, ...repeat(9, { startMs: 10_000 })]);
  t.match(verdicts, [0, 100, /^has had no process that is ready for 20100 ms$/]);
  t.equal(budget.awaySince, 96_000);
});
