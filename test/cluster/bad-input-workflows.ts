// Workflows of the tests of bad input; workers import this file.
import { join } from 'node:path';
import { workflow } from '../../src/ts/pipeline/index.js';
import { packageRoot } from '../../src/ts/addon/native.js';

const here = { module: __filename };

/** Answers with one more. */
export const plain = workflow('plain', here).stage('add', {
  handler: (task) => ({ meta: { n: Number(task.input('request').meta.n) + 1 } }),
});

/** Its second stage needs what no machine has. */
export const needy = workflow('needy', here)
  .stage('small', { handler: () => ({}) })
  .stage('large', {
    after: ['small'],
    resources: { gpus: 3, gpuMemoryBytes: 80 * 2 ** 30 },
    handler: () => ({}),
  });

/** Its stage names a handler that its file does not have. */
export const headless = workflow('headless', here).stage('find', {
  python: {
    file: join(packageRoot(), 'test/cluster/python/stages.py'),
    name: 'not_there',
    interpreter: '/usr/bin/python3',
  },
});
