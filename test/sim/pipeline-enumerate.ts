// Enumerating small pipelines, and the test of that: a file for each group of them keeps the bound on a file's time.
import t from 'tap';
import { EnumeratedChoices } from '../../src/ts/sim/choices.js';
import type { PipelineCase } from './pipeline-cases.js';
import { playPipeline } from './pipeline-run.js';

/** Schedules of one pipeline that a file goes through: it ends in time on a busy machine. */
const MOST = 1200;

/** A test for each pipeline: none of its first schedules breaks a property, and there are as many of them as there were. */
export function provePipelines(cases: readonly PipelineCase[]): void {
  // Errors are made by the thousand here, and looked at only in a failure, which can be repeated.
  Error.stackTraceLimit = 0;
  for (const { name, shape, limits, schedules } of cases) {
    void t.test(`schedules of ${name} keep the pipeline whole`, { timeout: 0 }, async (t) => {
      const choices = new EnumeratedChoices(limits);
      const failures: string[] = [];
      let count = 0;
      let faulty = 0;
      do {
        count++;
        const { broken, faults } = await playPipeline(choices, shape);
        if (faults.length > 0) faulty++;
        if (broken.length > 0)
          failures.push(`npm run sim -- --pipeline --case ${name} ${choices.replay}: ${broken[0]}`);
      } while (failures.length < 5 && count < MOST && choices.next());
      t.strictSame(failures, []);
      t.ok(count >= Math.min(schedules, MOST), `${count} schedules`);
      if (shape.faultCount > 0) t.ok(faulty > 0.8 * count, `${faulty} with a fault`);
      t.comment(`${name}: ${count} schedules, ${faulty} with a fault`);
    });
  }
}
