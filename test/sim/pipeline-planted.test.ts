// Proves that the simulation finds defects of pipelines: each one planted here is found within a bounded number of seeds,
// its seed shows the same failure again, and none is seen without it.
import t from 'tap';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { PLANTED } from './pipeline-planted-list.js';
import { playPipeline } from './pipeline-run.js';
import { type PipelineShape, pipelineShapeOf } from './pipeline-shape.js';

Error.stackTraceLimit = 0;
const WITHIN = 300;

for (const { name, flaw, plant, shape, seen } of PLANTED) {
  const without = (seed: number): PipelineShape => ({ ...pipelineShapeOf(seed), ...shape });
  const shapeFor = (seed: number) => ({ ...without(seed), ...(flaw === undefined ? {} : { flaw }) });
  void t.test(`found: ${name}`, { timeout: 0 }, async (t) => {
    const takeBack = plant?.();
    try {
      let found: { seed: number; broken: string[] } | undefined;
      for (let seed = 1; seed <= WITHIN && found === undefined; seed++) {
        const { broken } = await playPipeline(new SeededChoices(seed), shapeFor(seed));
        if (broken.length > 0) found = { seed, broken };
      }
      t.ok(found, `within ${WITHIN} seeds`);
      if (found === undefined) return;
      t.match(found.broken[0], seen);
      const again = await playPipeline(new SeededChoices(found.seed), shapeFor(found.seed));
      t.strictSame(again.broken, found.broken, `seed ${found.seed} shows it again`);
      takeBack?.();
      const quiet = await playPipeline(new SeededChoices(found.seed), without(found.seed));
      t.strictSame(quiet.broken, [], 'and nothing without it');
    } finally {
      takeBack?.();
    }
  });
}

void t.test('the same seed gives the same run of a pipeline', { timeout: 0 }, async (t) => {
  for (const seed of [7, 1382, 2 ** 40 + 3]) {
    const first = await playPipeline(new SeededChoices(seed), pipelineShapeOf(seed));
    t.ok(first.steps > 50);
    t.strictSame(await playPipeline(new SeededChoices(seed), pipelineShapeOf(seed)), first);
  }
});
