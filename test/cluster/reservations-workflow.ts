// Workflows that say which GPUs their processes see; workers import this module.
import path from 'node:path';
import { type StageOutput, type StageTask, workflow } from '../../src/ts/pipeline/index.js';

const here = { module: __filename };
const seen = () => process.env.CUDA_VISIBLE_DEVICES ?? null;
const python = {
  file: path.resolve(__dirname, '../../../test/cluster/python/stages.py'),
  name: 'sees',
  interpreter: '/usr/bin/python3',
};

/** Two GPUs for JavaScript, one for Python, and none. */
export const seeing = workflow('seeing', here)
  .stage('heavy', { resources: { gpus: 2 }, handler: (): StageOutput => ({ meta: { heavy: seen() } }) })
  .stage('python', { after: ['heavy'], resources: { gpus: 1 }, python })
  .stage('light', {
    after: ['python'],
    handler: (task: StageTask<'python'>): StageOutput => ({ meta: { ...task.input('python').meta, light: seen() } }),
  });

/** More memory than any machine has. */
export const greedy = workflow('greedy', here).stage('greedy', {
  resources: { memoryBytes: 2 ** 50 },
  handler: (): StageOutput => ({}),
});
