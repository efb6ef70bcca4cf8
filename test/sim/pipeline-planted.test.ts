// Proves that the simulation finds defects of pipelines: each one planted here is found within a bounded number of
// seeds, its seed shows the same failure again, and none is seen without it.
import t from 'tap';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { PLANTED } from './pipeline-planted-list.js';
import { checkFound } from './planted-defect.js';
import { playPipeline } from './pipeline-run.js';
import { type PipelineShape, pipelineShapeOf } from './pipeline-shape.js';

Error.stackTraceLimit = 0;
const WITHIN = 300;

for (const { name, flaw, plant, shape, seen } of PLANTED) {
  const without = (seed: number): PipelineShape => ({ ...pipelineShapeOf(seed), ...shape });
  const shapeFor = (seed: number) => ({ ...without(seed), ...(flaw === undefined ? {} : { flaw }) });
  void t.test(`found: ${name}`, { timeout: 0 }, async (t) => {
    const play = (shapeBy: (seed: number) => PipelineShape) => (seed: number) =>
      playPipeline(new SeededChoices(seed), shapeBy(seed));
    await checkFound(t, WITHIN, plant, seen, play(shapeFor), play(without));
  });
}

void t.test('the same seed gives the same run of a pipeline', { timeout: 0 }, async (t) => {
  for (const seed of [7, 1382, 2 ** 40 + 3]) {
    const first = await playPipeline(new SeededChoices(seed), pipelineShapeOf(seed));
    t.ok(first.steps > 50);
    t.strictSame(await playPipeline(new SeededChoices(seed), pipelineShapeOf(seed)), first);
  }
});
