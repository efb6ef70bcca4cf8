// The workflow of the tests of scaling with real processes; workers import this file.
//
// Invariant: an instance takes LOAD_MS to start, as one that loads a model, and then a task takes as long as its
// request says.
import { setTimeout as sleep } from 'node:timers/promises';
import { stageProcess } from '../../src/ts/cluster/index.js';
import { workflow } from '../../src/ts/pipeline/index.js';

export const LOAD_MS = Number(process.env.SCALING_LOAD_MS ?? 1000);
export const MAX_INSTANCES = Number(process.env.SCALING_MAX ?? 6);

if (stageProcess()?.startsWith('work/')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOAD_MS);

export const elastic = workflow('elastic', { module: __filename }).stage('work', {
  scale: {
    max: MAX_INSTANCES,
    sloMs: Number(process.env.SCALING_SLO_MS ?? 1000),
    evidence: Number(process.env.SCALING_EVIDENCE ?? 12),
    downAfterMs: Number(process.env.SCALING_DOWN_MS ?? 1500),
    zeroAfterMs: Number(process.env.SCALING_DOWN_MS ?? 1500),
    zeroAfterGaps: 0,
  },
  handler: async (task) => {
    const { n, ms } = task.input('request').meta;
    await sleep(Number(ms));
    return { meta: { n: Number(n) + 1 } };
  },
});
