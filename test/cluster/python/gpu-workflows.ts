// Workflows whose stages leave outputs on a GPU; workers import this module.
import path from 'node:path';
import { type StageOutput, type StageTask, workflow } from '../../../src/ts/pipeline/index.js';
import { INTERPRETER } from './workflows.js';

const FOLDER = path.resolve(__dirname, '../../../../test/cluster/python');
const LIMIT = { maxOutputBytes: 2 ** 24 };
const here = { module: __filename };
const python = (name: string) => ({
  python: { file: path.join(FOLDER, 'gpu_stages.py'), name, interpreter: INTERPRETER },
  graceMs: 300,
});

export const onGpu = workflow('on-gpu', here)
  .stage('make', { ...python('make'), ...LIMIT })
  .stage('read', { after: ['make'], ...python('read') });

/** Two stages take it. */
export const fork = workflow('fork', here)
  .stage('make', { ...python('make'), ...LIMIT })
  .stage('left', { after: ['make'], ...python('read') })
  .stage('right', { after: ['make'], ...python('read') });

/** One of the two that take it is in JavaScript. */
export const mixedFork = workflow('mixed-fork', here)
  .stage('make', { ...python('make'), ...LIMIT })
  .stage('left', { after: ['make'], ...python('read') })
  .stage('right', {
    after: ['make'],
    handler: (task: StageTask<'make'>): StageOutput => {
      const { data } = task.input('make').parts.y!;
      return { meta: { looks: [data[0] as number, data[data.length - 1] as number, data.length] } };
    },
  });

/** The one before the last sends it on. */
export const onward = workflow('onward', here)
  .stage('source', { ...python('make'), ...LIMIT })
  .stage('make', { after: ['source'], ...python('forward'), ...LIMIT })
  .stage('read', { after: ['make'], ...python('read') });
