// Proves for many seeds that a cluster keeps its rules over a store that fails in every way, and comes to what is
// wanted.
import t from 'tap';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { clusterShapeOf, playCluster } from './cluster-run.js';
import { countNotTime, sayProgress } from './progress.js';

countNotTime();
Error.stackTraceLimit = 0;
const SEEDS = 100;

void t.test(`the seeds 1 to ${SEEDS} keep all rules, and come to one plan in the end`, { timeout: 0 }, async (t) => {
  const failures: string[] = [];
  let [faults, plans] = [0, 0];
  for (let seed = 1; seed <= SEEDS && failures.length < 5; seed++) {
    sayProgress(t, seed);
    const verdict = await playCluster(new SeededChoices(seed), clusterShapeOf(seed));
    faults += verdict.faults.length;
    plans += verdict.plans;
    if (verdict.broken.length > 0) failures.push(`npm run sim -- --cluster --seed ${seed}: ${verdict.broken[0]}`);
  }
  t.strictSame(failures, []);
  t.ok(faults > 5 * SEEDS && plans > 4 * SEEDS, 'and much has happened');
  t.comment(`${faults} faults, ${plans} plans`);
});

void t.test('seeds that once failed', { timeout: 0 }, async (t) => {
  for (const seed of [12545]) t.same((await playCluster(new SeededChoices(seed), clusterShapeOf(seed))).broken, []);
});

void t.test('the same seed gives the same run of a cluster', { timeout: 0 }, async (t) => {
  for (const seed of [7, 1382]) {
    const first = await playCluster(new SeededChoices(seed), clusterShapeOf(seed));
    t.ok(first.steps > 500);
    t.strictSame(await playCluster(new SeededChoices(seed), clusterShapeOf(seed)), first);
  }
});
