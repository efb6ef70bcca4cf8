// The workflows that the test of `onepiece profile` measures; workers import this file.
//
// Invariant: stages sleep for known times, and an instance of `first` takes LOAD_MS longer to start than one of the
// others.
import { setTimeout as sleep } from 'node:timers/promises';
import { stageProcess } from '../../src/ts/cluster/index.js';
import { tensor, workflow } from '../../src/ts/pipeline/index.js';

export const FIRST_MS = 500;
export const BATCH_MS = 500;
/** Of each task of a batch beside the first one. */
export const MORE_MS = 200;
export const LOAD_MS = 1500;
export const OUTPUT_BYTES = 50_000;

if (stageProcess()?.startsWith('first/')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOAD_MS);

export const sleepers = workflow('sleepers', { module: __filename })
  .stage('batched', {
    batch: { size: 4, waitMs: 500 },
    batchHandler: async (tasks) => {
      await sleep(tasks.length === 1 ? BATCH_MS : BATCH_MS + (tasks.length - 1) * MORE_MS);
      return tasks.map((task) => ({ meta: task.input('request').meta }));
    },
  })
  .stage('first', {
    after: ['batched'],
    handler: async (task) => {
      const { meta } = task.input('batched');
      await sleep(FIRST_MS * Number(meta.times ?? 1));
      return { meta, parts: { data: tensor('u8', [OUTPUT_BYTES], new Uint8Array(OUTPUT_BYTES)) } };
    },
  })
  .stage('last', {
    after: ['first'],
    handler: (task) => {
      const { meta } = task.input('first');
      if (meta.fails === true) throw new Error('there is no such word');
      return { meta };
    },
  });
