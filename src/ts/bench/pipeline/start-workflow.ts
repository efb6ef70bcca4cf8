// A chain of as many stages as the environment asks for: how long such a pipeline takes to start.
//
// Invariant: the process that starts it and its workers, which inherit the environment, make the same workflow. So it
// is imported only after the environment was set.
import { workflow, type Workflow } from '../../pipeline/index.js';
import { STAGES_VARIABLE } from './settings.js';

/** @param stages 1 to 64 */
function chainOf(stages: number): Workflow {
  const flow = workflow('start', { module: __filename }) as Workflow;
  for (let i = 0; i < stages; i++) {
    const before = i === 0 ? 'request' : `stage-${i - 1}`;
    flow.stage(`stage-${i}`, { after: [before], handler: (task) => ({ parts: task.input(before).parts }) });
  }
  return flow;
}

export const startWorkflow = chainOf(Number(process.env[STAGES_VARIABLE] ?? 1));
