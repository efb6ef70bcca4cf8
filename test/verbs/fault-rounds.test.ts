// Proves, in rounds with random faults, that soft0 keeps what it promises whoever is stopped or killed, and when: see
// fault-rounds.ts. The bounded part of `npm run soak`.
import t from 'tap';
import { planRound } from './fault-plan.js';
import { runRounds } from './fault-rounds.js';

/** Another one in each run, so that the runs of a year see more than those of a day; a failure names it. */
const seed = Math.floor(Date.now() / 1000) % 1_000_000_000;

void t.test('a seed chooses the same faults each time, and seeds choose all of them', async (t) => {
  t.same(planRound(7), planRound(7));
  const plans = Array.from({ length: 100 }, (_, i) => planRound(i));
  t.same([...new Set(plans.map(({ fault }) => fault))].sort(), ['kill', 'stop and continue', 'stop and kill']);
  t.same([...new Set(plans.map(({ victim }) => victim))].sort(), [0, 1, 2]);
});

void t.test('whoever is stopped or killed, nothing is lost, changed or left behind by it', async (t) => {
  const summary = await runRounds({ seed, rounds: 200, minutes: 0.5 });
  t.comment(JSON.stringify(summary));
  t.ok(summary.rounds > 5, `${summary.rounds} rounds`);
  t.ok(summary.kills > 0 && summary.stops > 0 && summary.canaryMib > 0);
});
