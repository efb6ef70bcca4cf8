// What the tests of pipelines of processes share.
//
// Invariant: only processes that a test has started are looked at or ended, each by its id.
import { readdirSync, readFileSync } from 'node:fs';
import { LocalPipeline, type LocalPipelineOptions } from '../../src/ts/cluster/index.js';
import type { RdmaError, Workflow } from '../../src/ts/pipeline/index.js';
import { DEVICE, until, within } from '../pipeline/support.js';
import { diamondRequest } from '../pipeline/workflows.js';

/** The parent of a process that runs; undefined when it has ended, also when nobody has asked for its end yet. */
export function parentOf(pid: number | string): number | undefined {
  try {
    // proc(5): the name, in brackets, may hold anything; then the state and the parent.
    const [state, parent] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return state === 'Z' || state === 'X' ? undefined : Number(parent);
  } catch {
    return undefined;
  }
}

export function alive(pid: number): boolean {
  return parentOf(pid) !== undefined;
}

/** The processes that a process has started and that run. */
export function childrenOf(parent: number): number[] {
  const numbers = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return numbers.filter((pid) => parentOf(pid) === parent).map(Number);
}

/** The processes that this one has started and that run. */
export const children = (): number[] => childrenOf(process.pid);

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

/** What is left in a pipeline of requests that have ended; [] when nothing is. */
async function leftovers(pipeline: LocalPipeline): Promise<string[]> {
  const { gateway, stages } = await pipeline.status();
  const left: string[] = [];
  const note = (name: string, what: string, count: number) => count > 0 && left.push(`${name}: ${count} ${what}`);
  for (const status of [gateway!, ...Object.values(stages)]) {
    const { name, open, incomplete, early, pool } = status;
    note(name, 'open', open);
    note(name, 'incomplete', incomplete);
    note(name, 'early', early);
    note(name, 'blocks', pool.blocks);
    for (const { target, unacknowledged, backlog } of status.links) {
      note(name, `unacknowledged by ${target}`, unacknowledged);
      note(name, `waiting for ${target}`, backlog);
    }
  }
  for (const { name, running, ready, unsent } of Object.values(stages)) note(name, 'tasks', running + ready + unsent);
  note('gateway', 'requests', gateway!.inFlight + gateway!.queued);
  // A place that does not answer is not known to be idle.
  note('pipeline', 'places that do not answer', pipeline.processes.length - Object.keys(stages).length);
  return left;
}

/** Waits until nothing is left of any request in any process; throws with what is left. */
export async function idle(pipeline: LocalPipeline, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const left = await leftovers(pipeline);
    if (left.length === 0) return;
    if (performance.now() > end) throw new Error(`not idle: ${left.join('; ')}`);
    // A pipeline without a process that is ready answers at once, and none would ever become ready.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** How a request ends: `ok`, or its error. */
export const outcome = (promise: Promise<unknown>): Promise<RdmaError | 'ok'> =>
  promise.then(
    () => 'ok' as const,
    (error: RdmaError) => error,
  );

/** How a request with this metadata ends. */
export function run(
  pipeline: LocalPipeline,
  meta: Record<string, string | number>,
  timeoutMs?: number,
): Promise<RdmaError | 'ok'> {
  return outcome(pipeline.run({ meta }, timeoutMs === undefined ? {} : { timeoutMs }));
}
