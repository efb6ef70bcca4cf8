// The workflows that show what batches are worth: one stage that takes single tasks, and one that takes eight at a
// time.
//
// Invariant: a batch, however full, costs 1.5 times what one of its tasks would cost alone on average. The process that
// starts a workflow and its workers, which inherit the environment, make the same one.
import { type Workflow, workflow } from '../../pipeline/index.js';
import { BATCH } from './settings.js';
import { type OverloadMeta, SIZE_VARIABLE, work } from './work.js';

/** What the tasks of a batch cost together, and how long one waits for company. */
const COST = 1.5;
const WAIT_MS = 10;

const instances = Number((process.env[SIZE_VARIABLE] ?? '1x1').split('x')[0]);

export const singleWorkflow: Workflow = workflow('single', { module: __filename }).stage('model', {
  instances,
  handler: async (task) => {
    const { work: kind, ms } = task.input('request').meta as OverloadMeta;
    await work(kind, ms[0]!, task.signal);
    return {};
  },
}) as Workflow;

export const batchedWorkflow: Workflow = workflow('batched', { module: __filename }).stage('model', {
  instances,
  batch: { size: BATCH, waitMs: WAIT_MS },
  batchHandler: async (tasks) => {
    const metas = tasks.map((task) => task.input('request').meta as OverloadMeta);
    const sumMs = metas.reduce((sum, { ms }) => sum + ms[0]!, 0);
    await work(metas[0]!.work, Math.round((COST * sumMs) / tasks.length));
    return tasks.map(() => ({}));
  },
}) as Workflow;
