// Enumerating small pipelines, and the test of that: a file for each group of them keeps the bound on a file's time.
import t from 'tap';
import { EnumeratedChoices } from '../../src/ts/sim/choices.js';
import type { PipelineCase } from './pipeline-cases.js';
import { playPipeline } from './pipeline-run.js';
import { countNotTime, sayProgress } from './progress.js';

const MOST = 60_000;

/** The first thing that breaks in a pipeline with a defect that was planted; undefined: no schedule shows it. */
export async function findPlanted(t: Parameters<typeof sayProgress>[0], { shape, limits }: PipelineCase) {
  const choices = new EnumeratedChoices(limits);
  let count = 0;
  do {
    const { broken } = await playPipeline(choices, shape);
    sayProgress(t, ++count);
    if (broken.length > 0) return broken[0];
  } while (count < MOST && choices.next());
  return undefined;
}

/** A test for each pipeline: no run breaks a property, and there are as many of them as there were. */
export function provePipelines(cases: readonly PipelineCase[]): void {
  // Errors are made by the thousand here, and looked at only in a failure, which can be repeated.
  Error.stackTraceLimit = 0;
  countNotTime();
  for (const { name, shape, limits, schedules } of cases) {
    void t.test(`every schedule of ${name} keeps the pipeline whole`, { timeout: 0 }, async (t) => {
      const choices = new EnumeratedChoices(limits);
      const failures: string[] = [];
      let count = 0;
      let faulty = 0;
      do {
        if (++count > MOST) throw new Error(`${name} has more than ${MOST} schedules`);
        const { broken, faults } = await playPipeline(choices, shape);
        sayProgress(t, count);
        if (faults.length > 0) faulty++;
        if (broken.length > 0)
          failures.push(`npm run sim -- --pipeline --case ${name} ${choices.replay}: ${broken[0]}`);
      } while (failures.length < 5 && choices.next());
      t.strictSame(failures, []);
      t.ok(count >= schedules, `${count} schedules`);
      if (shape.faultCount > 0) t.ok(faulty > 0.8 * count, `${faulty} with a fault`);
      t.comment(`${name}: ${count} schedules, ${faulty} with a fault`);
    });
  }
}
