// Workflows whose processes start badly, as a file says; workers import this module.
//
// Invariant: only the process of a stage does what the file says, and only where the file names its place.
import { readFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { stageProcess } from '../../src/ts/cluster/index.js';
import { type StageOutput, type StageTask, workflow } from '../../src/ts/pipeline/index.js';

/** Environment variable with the path of the file: JSON of a {@link Fault} by place. */
export const FAULTS = 'ONEPIECE_TEST_FAULTS';

/** What happens while the module of a place is imported. */
export interface Fault {
  /** Blocks for so long, in ms. */
  blockMs?: number;
  throws?: string;
}

function faultOf(place: string | undefined): Fault {
  const file = process.env[FAULTS];
  if (place === undefined || file === undefined) return {};
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as Record<string, Fault>)[place] ?? {};
  } catch {
    return {}; // there is none now
  }
}

const fault = faultOf(stageProcess());
if (fault.blockMs !== undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, fault.blockMs);
if (fault.throws !== undefined) throw new Error(fault.throws);

/** Three stages one after the other that do nothing. */
export const chain = workflow('chain', { module: __filename })
  .stage('a', { handler: () => ({}) })
  .stage('b', { after: ['a'], handler: () => ({}) })
  .stage('c', { after: ['b'], handler: () => ({}) });

/** How long a handler of {@link stubborn} runs that does not listen, in ms: longer than any test. */
const FOREVER_MS = 1e9;

const block = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A handler that does what the request says, and tells which process it was. */
async function act(task: StageTask<'request'>): Promise<StageOutput> {
  const { act, ms = 0, tries = 0 } = task.input('request').meta as { act?: string; ms?: number; tries?: number };
  switch (act) {
    case 'exit':
      process.exit(3);
      break;
    case 'exit-later':
      await sleep(ms);
      process.exit(3);
      break;
    case 'reject':
      void Promise.reject(new Error('nobody waits for this'));
      await sleep(FOREVER_MS);
      break;
    case 'block':
      block(ms || FOREVER_MS);
      break;
    case 'ignore':
      await sleep(FOREVER_MS);
      break;
    case 'listen':
      await new Promise((_, reject) => {
        task.signal.addEventListener('abort', () => reject(task.signal.reason as Error));
      });
      break;
    case 'wait':
      await sleep(ms);
      break;
    case 'retry': {
      seen.set(task.request, (seen.get(task.request) ?? 0) + 1);
      if (seen.get(task.request)! <= tries) throw Object.assign(new Error('try again'), { retryable: true });
    }
  }
  return { meta: { pid: process.pid, instance: task.instance, tries: seen.get(task.request) ?? 0 } };
}

const seen = new Map<string, number>();

/** One stage with two instances whose handlers have a time limit. */
export const limited = workflow('limited', { module: __filename }).stage('act', {
  instances: 2,
  taskTimeoutMs: 300,
  graceMs: 300,
  handler: act,
});

/** One stage with two instances without one. */
export const stubborn = workflow('stubborn', { module: __filename }).stage('act', {
  instances: 2,
  graceMs: 300,
  handler: act,
});

/** One instance that runs four tasks at a time. */
export const crowd = workflow('crowd', { module: __filename }).stage('act', { concurrency: 4, handler: act });

/** One instance that runs four tasks in each of two batches. */
export const together = workflow('together', { module: __filename }).stage('act', {
  concurrency: 2,
  batch: { size: 4, waitMs: 50 },
  batchHandler: async (tasks) => {
    await sleep(20);
    if (tasks.some((task) => task.input('request').meta.act === 'exit')) process.exit(3);
    return tasks.map(() => ({ meta: { size: tasks.length } }));
  },
});

/** One instance behind another stage. */
export const second = workflow('second', { module: __filename })
  .stage('pass', { handler: (task) => ({ meta: task.input('request').meta }) })
  .stage('act', {
    after: ['pass'],
    handler: (task) => {
      if (task.input('pass').meta.act === 'exit') process.exit(3);
      return { meta: { pid: process.pid } };
    },
  });

/** What a handler does besides its work is in the request. */
export const careless = workflow('careless', { module: __filename }).stage('act', {
  handler: (task) => {
    const { act } = task.input('request').meta;
    switch (act) {
      case 'send':
        // As programs do that know of another parent.
        for (const message of [null, 'ready', 7, { type: 'ready' }, { type: 'failed', error: 1 }, []]) {
          process.send?.(message);
        }
        return {};
      case 'spawn': {
        const { pid } = spawn('sleep', ['1000'], { stdio: 'ignore' });
        return { meta: { pid: pid ?? 0 } };
      }
      case 'environment':
        return { meta: { text: readFileSync(`/proc/${process.pid}/environ`, 'latin1') } };
      default:
        return {};
    }
  },
});
