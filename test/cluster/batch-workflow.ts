// The workflow of the tests of batches with real processes; workers import this file.
//
// Invariant: the answer to a request depends on its number only, and its last stage says which other requests ran
// beside it.
import { setTimeout as sleep } from 'node:timers/promises';
import { tensor, workflow } from '../../src/ts/pipeline/index.js';

const numberOf = (meta: Record<string, unknown>) => Number(meta.n);

/** A stage of batches of one key; and behind it a loop of steps that takes tasks up and lets them go. */
export const batches = workflow('batches', { module: __filename })
  .stage('square', {
    instances: 2,
    batch: { size: 4, waitMs: 2, key: (task) => numberOf(task.input('request').meta) % 2 },
    batchHandler: async (tasks) => {
      for (const task of tasks) task.progress(0.5, { step: 1, preview: `half of ${tasks.length}` });
      await sleep(3);
      if (tasks.some((task) => task.input('request').meta.poison === true)) process.kill(process.pid, 'SIGKILL');
      return tasks.map((task) => {
        const n = numberOf(task.input('request').meta);
        if (n % 50 === 49) return new Error(`${n} is not to be squared`);
        return { meta: { n }, parts: { square: tensor('f64', [1], Float64Array.of(n * n)) } };
      });
    },
  })
  .stage('steps', {
    after: ['square'],
    batch: { size: 4 },
    batchHandler: async (tasks) => {
      const left = new Map(tasks.map((task) => [task, 1 + (numberOf(task.input('square').meta) % 5)]));
      while (left.size > 0) {
        await sleep(1);
        for (const [task, steps] of left) {
          if (steps > 1) {
            left.set(task, steps - 1);
            continue;
          }
          const { meta, parts } = task.input('square');
          task.finish({ meta: { n: meta.n, square: (parts.square!.data as Float64Array)[0] } });
          left.delete(task);
        }
        for (const task of tasks[0]!.poll()) left.set(task, 1 + (numberOf(task.input('square').meta) % 5));
      }
      return undefined;
    },
  });
