// The workflow that is overloaded: three stages, each with several instances; a request says how long each takes for
// it.
//
// Invariant: the process that starts it and its workers, which inherit the environment, make the same workflow. So it
// is imported only after the environment was set.
import { type StageTask, type Workflow, workflow } from '../../pipeline/index.js';
import { STAGES } from './settings.js';
import { type OverloadMeta, SIZE_VARIABLE, work } from './work.js';

function make(size: string): Workflow {
  const [instances, concurrency] = size.split('x').map(Number);
  const flow = workflow('overload', { module: __filename }) as Workflow;
  for (const [index, name] of STAGES.entries()) {
    const before = index === 0 ? 'request' : STAGES[index - 1]!;
    flow.stage(name, {
      after: [before],
      instances: instances!,
      concurrency: concurrency!,
      handler: async (task: StageTask) => {
        const meta = task.input(before).meta as OverloadMeta;
        await work(meta.work, meta.ms[index]!, task.signal);
        return { meta };
      },
    });
  }
  return flow;
}

export const overloadWorkflow = make(process.env[SIZE_VARIABLE] ?? '1x1');
