// The workflows with which batching is measured: one stage of one instance that takes single tasks, and one that takes
// batches of the same work.
//
// Invariant: a batch of `BATCH_SIZE` costs `BATCH_COST` times what a single task costs, and smaller ones in proportion.
// A worker finds its workflow here by name, so each one is exported.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Meta, workflow } from '../../pipeline/index.js';

/** Tasks of a batch, at most. */
export const BATCH_SIZE = 8;
/** What a full batch costs, relative to a single task. */
export const BATCH_COST = 1.5;

/** `sleep`: a device works and the processor rests. `compute`: the processor works. */
export type BatchWork = 'sleep' | 'compute';

/** What each request says: the work, and what a single task costs in ms. */
export interface BatchMeta extends Meta {
  work: BatchWork;
  ms: number;
}

/** What a batch of so many tasks costs, relative to a single task. */
export function costOf(size: number): number {
  return 1 + ((BATCH_COST - 1) * (size - 1)) / (BATCH_SIZE - 1);
}

async function spend({ work, ms }: BatchMeta, size: number): Promise<void> {
  const costMs = ms * costOf(size);
  if (work === 'sleep') {
    await sleep(costMs);
    return;
  }
  for (const endMs = performance.now() + costMs; performance.now() < endMs; );
}

export const singleTasks = workflow('single-tasks', { module: __filename }).stage('work', {
  handler: async (task) => {
    const { meta } = task.input('request');
    await spend(meta as BatchMeta, 1);
    return { meta };
  },
});

export const batchedTasks = workflow('batched-tasks', { module: __filename }).stage('work', {
  batch: { size: BATCH_SIZE },
  batchHandler: async (tasks) => {
    await spend(tasks[0]!.input('request').meta as BatchMeta, tasks.length);
    return tasks.map((task) => ({ meta: task.input('request').meta }));
  },
});
