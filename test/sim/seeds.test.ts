// Proves: the rings keep every property in runs of larger configurations that seeds decide, up to three producers and
// four faults.
import t from 'tap';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { countNotTime, sayProgress } from './progress.js';
import { play } from './ring-run.js';
import { shapeOf } from './shape.js';

const SEEDS = 10_000;
Error.stackTraceLimit = 0;
countNotTime();

void t.test(`${SEEDS} seeds keep the protocol`, { timeout: 0 }, async (t) => {
  const failures: string[] = [];
  let faults = 0;
  let deliveries = 0;
  let pulls = 0;
  let maps = 0;
  let reads = 0;
  for (let seed = 1; seed <= SEEDS && failures.length < 5; seed++) {
    sayProgress(t, seed);
    const verdict = await play(new SeededChoices(seed), shapeOf(seed));
    faults += verdict.faults.length;
    deliveries += verdict.deliveries;
    pulls += verdict.pulls;
    maps += verdict.maps;
    reads += verdict.reads;
    if (verdict.broken.length > 0) failures.push(`npm run sim -- --seed ${seed}: ${verdict.broken[0]}`);
  }
  t.strictSame(failures, []);
  t.ok(pulls > SEEDS / 20, `${pulls} pulls`);
  t.ok(maps > SEEDS / 20 && reads > SEEDS / 20, `${maps} blocks mapped, ${reads} read`);
  t.ok(faults > SEEDS && deliveries > SEEDS, `${faults} faults, ${deliveries} deliveries`);
});
