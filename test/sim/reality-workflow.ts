// The workflows with which the simulator is compared: stages that sleep as long as a request says; workers import this
// file.
//
// Invariant: a handler takes its time whatever the machine does beside it, as one that waits for a GPU, and ends at
// once when nobody wants its result any more. An instance of `work` loads for LOAD_MS.
import { setTimeout as sleep } from 'node:timers/promises';
import { stageProcess } from '../../src/ts/cluster/index.js';
import { type StageTask, workflow } from '../../src/ts/pipeline/index.js';

/** Of one unit. */
export const PREPARE_MS = 200;
export const WORK_MS = 800;
export const LOAD_MS = 3000;
/** Requests name their cost by it. */
export const COST_CLASS = 'unit';
export const PREPARE_INSTANCES = 2;
export const FIXED_INSTANCES = 4;
/** How `work` is scaled where it is. */
export const SCALE = { min: 1, max: 6, sloMs: 3000, evidence: 6, downAfterMs: 6000, loadMs: LOAD_MS + 1000 };

if (stageProcess()?.startsWith('work/')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOAD_MS);

async function work(task: StageTask, from: string, unitMs: number) {
  const { meta } = task.input(from);
  await sleep(Number(meta.units) * unitMs, undefined, { signal: task.signal });
  return { meta };
}

const cost = (ms: number) => ({ cost: { unitMs: { [COST_CLASS]: ms } } });
const prepare = {
  instances: PREPARE_INSTANCES,
  ...cost(PREPARE_MS),
  handler: (task: StageTask) => work(task, 'request', PREPARE_MS),
};
const behind = {
  after: ['prepare' as const],
  ...cost(WORK_MS),
  handler: (task: StageTask) => work(task, 'prepare', WORK_MS),
};

export const fixed = workflow('reality-fixed', { module: __filename })
  .stage('prepare', prepare)
  .stage('work', { ...behind, instances: FIXED_INSTANCES });

export const elastic = workflow('reality-elastic', { module: __filename })
  .stage('prepare', prepare)
  .stage('work', { ...behind, scale: SCALE });
