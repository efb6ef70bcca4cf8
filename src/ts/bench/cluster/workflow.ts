// The workflow of the cluster benchmark: three stages in a row that sleep as long as the request says.
//
// Invariant: the last stage answers what came in, so an answer can be compared with its request.
import { type StageTask, type Workflow, workflow } from '../../pipeline/index.js';
import { CONCURRENCY, INSTANCES, STAGES } from './settings.js';
import { type ClusterMeta, runStage } from './work.js';

/** A process that is killed by the benchmark is no fault of its request. */
const ATTEMPTS = 100;

function make(): Workflow {
  const flow = workflow('bench-cluster', { module: __filename }) as Workflow;
  for (const [index, name] of STAGES.entries()) {
    const before = index === 0 ? 'request' : STAGES[index - 1]!;
    flow.stage(name, {
      after: [before],
      instances: INSTANCES,
      concurrency: CONCURRENCY,
      attempts: ATTEMPTS,
      handler: async (task: StageTask) => {
        const { meta } = task.input(before);
        await runStage(name, meta as unknown as ClusterMeta);
        return { meta };
      },
    });
  }
  return flow;
}

export const benchCluster = make();
