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
    const { delayMs, spent } = budget.died(nowMs);
    if (spent !== undefined) {
      verdicts.push(spent);
      break;
    }
    verdicts.push(delayMs);
    nowMs += delayMs;
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

void t.test('after a second of work the pauses begin again from the first', async (t) => {
  const lives = [...repeat(4, { startMs: 1 }), { startMs: 1, workMs: 1000 }, ...repeat(2, { startMs: 1 })];
  t.same(live(new RestartBudget(1000, 1e9), lives), [0, 100, 200, 400, 0, 100, 200]);
});

void t.test('too many deaths within a minute of work spend the budget', async (t) => {
  const words = /^ended more than 3 times within a minute of work$/;
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

void t.test('a place that is away for too long has spent it', async (t) => {
  const budget = new RestartBudget(1000, 20_000);
  const verdicts = live(budget, [{ startMs: 5000, workMs: 90_000 }, ...repeat(9, { startMs: 10_000 })]);
  t.match(verdicts, [0, 100, /^has had no process that is ready for 20100 ms$/]);
  t.equal(budget.awaySince, 96_000);
});

void t.test(
  'a place whose budget is spent is tried later and later, at least every 30 s, and is well once it has worked',
  async (t) => {
    const budget = new RestartBudget(2, 1e9);
    const delays: number[] = [];
    let nowMs = 0;
    for (let i = 0; i < 12; i++) {
      const { delayMs, spent } = budget.died(nowMs);
      t.equal(spent !== undefined, i >= 2);
      delays.push(delayMs);
      nowMs += delayMs + 50;
    }
    t.same(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    budget.ready(nowMs);
    t.same(budget.died(nowMs + 61_000), { delayMs: 0, spent: undefined });
  },
);

void t.test('deaths that a task is to blame for count nothing, however many', async (t) => {
  const budget = new RestartBudget(1, 1e9);
  let nowMs = 0;
  for (let i = 0; i < 100; i++) {
    budget.ready(nowMs);
    nowMs += 10;
    t.same(budget.died(nowMs, 'task'), { delayMs: 0, spent: undefined });
  }
  t.same(budget.died(nowMs), { delayMs: 0, spent: undefined }, 'the first of its own');
  t.match(budget.died(nowMs), { spent: /more than 1 times/ });
});

void t.test('a place whose processes say why they cannot begin has spent it after ten seconds', async (t) => {
  const budget = new RestartBudget(1000, 120_000);
  const times: number[] = [];
  let nowMs = 0;
  for (;;) {
    const { delayMs, spent } = budget.died(nowMs, 'failed');
    if (spent !== undefined) break;
    times.push(nowMs);
    nowMs += delayMs + 50;
  }
  t.ok(nowMs >= 10_000 && nowMs < 20_000, `after ${nowMs} ms`);
  const other = new RestartBudget(1000, 120_000);
  for (const at of times) t.equal(other.died(at).spent, undefined);
  t.equal(other.died(nowMs).spent, undefined, 'one that hangs, say, may take longer');
});
