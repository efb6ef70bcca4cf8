// What the tests of pipelines of processes share.
//
// Invariant: only processes that a test has started are looked at or ended, each by its id.
import { LocalPipeline, type LocalPipelineOptions } from '../../src/ts/cluster/index.js';
import type { Workflow } from '../../src/ts/pipeline/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { diamondRequest } from '../pipeline/workflows.js';

/** True while there is a process of this id. */
export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export async function gone(pids: readonly number[], timeoutMs = 2000): Promise<void> {
  await until(`the end of ${pids.join(', ')}`, () => !pids.some(alive), timeoutMs);
}

export interface Started {
  pipeline: LocalPipeline;
  pids: () => number[];
}

/** Starts a pipeline on the device of the tests, which ends with the test. */
export async function start(
  t: { teardown: (work: () => Promise<void>) => void },
  workflow: Workflow,
  options: LocalPipelineOptions = {},
): Promise<Started> {
  const pipeline = await within('the start', LocalPipeline.start(workflow, { device: DEVICE, ...options }), 60_000);
  const seen = new Set<number>();
  const pids = () => {
    for (const { pid } of pipeline.processes) seen.add(pid);
    return [...seen];
  };
  pids();
  t.teardown(async () => {
    pids();
    await within('the close', pipeline.close(), 10_000);
    await gone([...seen]);
  });
  return { pipeline, pids };
}

/** Runs requests 0 to `count` - 1 with several clients, and answers how many had another result than they must have. */
export async function load(
  pipeline: LocalPipeline,
  count: number,
  clients: number,
  onResult: (finished: number) => void = () => {},
): Promise<{ finished: number; wrong: string[] }> {
  let next = 0;
  let finished = 0;
  const wrong: string[] = [];
  const client = async () => {
    while (next < count) {
      const n = next++;
      const { request, result } = diamondRequest(n);
      try {
        const { outputs } = await within(`request ${n}`, pipeline.run(request), 40_000);
        if (outputs.length !== 1 || JSON.stringify(outputs[0]?.meta) !== JSON.stringify(result)) {
          wrong.push(`${n}: ${JSON.stringify(outputs.map((output) => output.meta))}`);
        }
      } catch (error) {
        wrong.push(`${n}: ${String(error)}`);
      }
      onResult(++finished);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { finished, wrong };
}
