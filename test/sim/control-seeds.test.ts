// Proves for many seeds that leaders, members and addresses stay right over a store that fails in every way.
import t from 'tap';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { controlShapeOf, playControl } from './control-run.js';
import { countNotTime, sayProgress } from './progress.js';

countNotTime();
Error.stackTraceLimit = 0;
const SEEDS = 200;

void t.test(`the seeds 1 to ${SEEDS} keep one leader, and all agree in the end`, { timeout: 0 }, async (t) => {
  const failures: string[] = [];
  let [faults, terms, plans, losses] = [0, 0, 0, 0];
  for (let seed = 1; seed <= SEEDS && failures.length < 5; seed++) {
    sayProgress(t, seed);
    const verdict = await playControl(new SeededChoices(seed), controlShapeOf(seed));
    faults += verdict.faults.length;
    terms += verdict.terms;
    plans += verdict.plans;
    losses += verdict.losses;
    if (verdict.broken.length > 0) failures.push(`npm run sim -- --control --seed ${seed}: ${verdict.broken[0]}`);
  }
  t.strictSame(failures, []);
  t.ok(faults > 3 * SEEDS && terms > SEEDS && plans > 20 * SEEDS && losses > SEEDS, 'and much has happened');
  t.comment(`${faults} faults, ${terms} takeovers, ${plans} plans, ${losses} losses seen`);
});

void t.test('the same seed gives the same run of the control plane', { timeout: 0 }, async (t) => {
  for (const seed of [7, 1382, 2 ** 40 + 3]) {
    const first = await playControl(new SeededChoices(seed), controlShapeOf(seed));
    t.ok(first.steps > 500);
    t.strictSame(await playControl(new SeededChoices(seed), controlShapeOf(seed)), first);
  }
});
