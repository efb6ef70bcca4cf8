// The workflow of the chaos on a pipeline: routes, shards, a fan-out and a fan-in; workers import this file.
//
// Invariant: what is answered depends on the request only, but for the number that each run of a stage draws for
// itself. That number goes with all that is made of the run's output, so the last stage sees whether its inputs come
// from the same request, and from the same run of each stage that they share; it answers what does not fit in
// `mixed`.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Meta, type StageInput, type StageTask, tensor, workflow } from '../../src/ts/pipeline/index.js';
import { type Act, MAX_BYTES, shardSum, type StageName, turned } from './chaos-plan.js';

/** The metadata of a request. */
export interface ChaosMeta extends Meta {
  n: number;
  act: Act;
  where: StageName;
  workMs: number;
}

/** What each stage hands on. */
interface Handed extends ChaosMeta {
  /** The request as the stage knew it. */
  request: string;
  /** The run of `copy` that it was made from. */
  run: string;
}

const limits = { maxOutputBytes: MAX_BYTES + 1024 };
const bytesOf = ({ parts }: StageInput) => parts.x!.data as Uint8Array;
const part = (bytes: Uint8Array) => ({ x: tensor('u8', [bytes.length], bytes) });
const draw = () => randomBytes(6).toString('hex');

/** What the request asks this stage to do besides its work. */
async function act(task: StageTask, { act: what, where, workMs, n }: ChaosMeta): Promise<void> {
  if (workMs > 0) await sleep(workMs);
  if (what === 'work' || where !== task.stage) return;
  if (what === 'throw') throw new Error(`request ${n} fails in ${where}`);
  await new Promise((_, reject) => {
    const ended = () => reject(task.signal.reason);
    if (task.signal.aborted) ended();
    else task.signal.addEventListener('abort', ended);
  });
}

function handed(task: StageTask, meta: ChaosMeta, run: string): Handed {
  const { n, act: what, where, workMs } = meta;
  return { n, act: what, where, workMs, request: task.request, run };
}

export const chaotic = workflow('chaotic', { module: __filename, maxRequestBytes: MAX_BYTES + 1024 })
  .stage('copy', {
    ...limits,
    instances: 2,
    concurrency: 2,
    handler: async (task) => {
      const { meta, parts } = task.input('request');
      const asked = meta as ChaosMeta;
      await act(task, asked);
      return { meta: handed(task, asked, draw()), parts: part(turned('copy', asked.n, parts.x!.data as Uint8Array)) };
    },
  })
  .stage('sum', {
    ...limits,
    after: ['copy'],
    instances: 2,
    spread: 'shard',
    concurrency: 4,
    handler: async (task) => {
      const input = task.input('copy');
      const meta = input.meta as Handed;
      await act(task, meta);
      const { instance: index, instances: count } = task;
      return { meta: { ...handed(task, meta, meta.run), index, count, sum: shardSum(bytesOf(input), index, count) } };
    },
  })
  .stage('mix', {
    ...limits,
    after: ['copy'],
    instances: 2,
    concurrency: 2,
    handler: async (task) => {
      const input = task.input('copy');
      const meta = input.meta as Handed;
      await act(task, meta);
      const mixed = turned('mix', meta.n, bytesOf(input));
      const parts = task.output({ x: { dtype: 'u8', shape: [mixed.length] } });
      (parts.x.data as Uint8Array).set(mixed);
      return { meta: handed(task, meta, meta.run), parts };
    },
  })
  .stage('join', {
    ...limits,
    after: ['sum', 'mix'],
    instances: 2,
    concurrency: 2,
    handler: async (task) => {
      const mixed = task.input('mix');
      const sums = task.inputs('sum');
      const meta = mixed.meta as Handed;
      await act(task, meta);
      const wrong = whatDoesNotFit(
        task.request,
        meta,
        sums.map((input) => input.meta as Handed & { index: number; count: number }),
      );
      const sum = sums.reduce((total, input) => total + Number(input.meta.sum), 0);
      const answer = wrong === undefined ? { n: meta.n, sum } : { n: meta.n, sum, mixed: wrong };
      return { meta: answer, parts: part(turned('join', meta.n, bytesOf(mixed))) };
    },
  });

/** Why the inputs are not of one request, one run and one plan; undefined: they are. */
export function whatDoesNotFit(
  request: string,
  mixed: { n: number; request: string; run: string },
  sums: readonly { n: number; request: string; run: string; index: number; count: number }[],
): string | undefined {
  for (const input of [mixed, ...sums]) {
    if (input.request !== request) return `an input is of request ${input.request}, the task of ${request}`;
    if (input.n !== mixed.n) return `inputs are of ${mixed.n} and ${input.n}`;
    if (input.run !== mixed.run) return `inputs are of two runs of copy`;
  }
  const indices = sums.map(({ index }) => index);
  if (sums.some(({ count, index }, i) => count !== sums.length || index !== i)) {
    return `the shards are ${indices.join(', ')} of ${sums.map(({ count }) => count).join(', ')}`;
  }
  return undefined;
}
