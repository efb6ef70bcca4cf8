// Runs of larger pipelines that seeds decide, and the test of that: a file for each part of the seeds keeps the bound
// on a file's time.
import t from 'tap';
import { SeededChoices } from '../../src/ts/sim/choices.js';
import { playPipeline } from './pipeline-run.js';
import { pipelineShapeOf } from './pipeline-shape.js';
import { countNotTime, sayProgress } from './progress.js';

/** A test of the seeds from `first` to `last`. */
export function proveSeeds(first: number, last: number): void {
  // Errors are made by the thousand here, and looked at only in a failure, which can be repeated.
  Error.stackTraceLimit = 0;
  countNotTime();
  const count = last - first + 1;
  void t.test(`the seeds ${first} to ${last} keep pipelines whole`, { timeout: 0 }, async (t) => {
    const failures: string[] = [];
    let faults = 0;
    let results = 0;
    let tasks = 0;
    for (let seed = first; seed <= last && failures.length < 5; seed++) {
      sayProgress(t, seed);
      const verdict = await playPipeline(new SeededChoices(seed), pipelineShapeOf(seed));
      faults += verdict.faults.length;
      tasks += verdict.tasks;
      results += verdict.outcomes.result ?? 0;
      if (verdict.broken.length > 0) failures.push(`npm run sim -- --pipeline --seed ${seed}: ${verdict.broken[0]}`);
    }
    t.strictSame(failures, []);
    t.ok(results > 2 * count, `${results} results`);
    t.ok(faults > count && tasks > 10 * count, `${faults} faults, ${tasks} tasks`);
    t.comment(`${count} schedules`);
  });
}
