// The workflow of the test of stages that sleep; workers import this file.
//
// Invariant: both stages may sleep, and an instance of `work` takes LOAD_MS to start.
import { stageProcess } from '../../src/ts/cluster/index.js';
import { workflow } from '../../src/ts/pipeline/index.js';

export const LOAD_MS = 1000;
export const IDLE_MS = 1500;

if (stageProcess()?.startsWith('work/')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOAD_MS);

const scale = { min: 0, max: 3, sloMs: 2000, idleMs: IDLE_MS };

export const sleeper = workflow('sleeper', { module: __filename })
  .stage('prepare', { scale, handler: (task) => ({ meta: { n: Number(task.input('request').meta.n) + 1 } }) })
  .stage('work', {
    after: ['prepare'],
    scale: { ...scale, loadMs: LOAD_MS },
    handler: (task) => ({ meta: { n: 10 * Number(task.input('prepare').meta.n) } }),
  });
