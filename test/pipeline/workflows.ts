// The workflows of the tests with real processes; workers import this file.
//
// Invariant: a handler's answer depends on its input only, so that a result can be compared with what it must be.
import { existsSync, writeFileSync } from 'node:fs';
import { type Meta, type PipelineRequest, tensor, type Workflow, workflow } from '../../src/ts/pipeline/index.js';

const here = { module: __filename };
const numbers = (data: unknown): Float64Array => data as Float64Array;

/** Fan-out, shards, fan-in and turns: the sum of the input's squares, by two ways. */
export const diamond = workflow('diamond', { ...here, maxRequestBytes: 64 * 1024 })
  .stage('scale', {
    instances: 2,
    maxOutputBytes: 64 * 1024,
    handler: (task) => {
      const { meta, parts } = task.input('request');
      const data = numbers(parts.x?.data).map((value) => value * 2);
      return { meta, parts: { x: tensor('f64', [data.length], data) } };
    },
  })
  .stage('square', {
    instances: 2,
    spread: 'shard',
    concurrency: 2,
    after: ['request', 'scale'],
    maxOutputBytes: 64 * 1024,
    handler: (task) => {
      const data = numbers(task.input('scale').parts.x?.data);
      const original = numbers(task.input('request').parts.x?.data);
      let sum = 0;
      for (let i = task.instance; i < data.length; i += task.instances) sum += (data[i]! / 2) * original[i]!;
      return { meta: { sum } };
    },
  })
  .stage('total', {
    after: ['scale', 'square'],
    handler: (task) => {
      const { meta } = task.input('scale');
      if (meta.print === true) console.log('PRINTED BY A HANDLER');
      return { meta: { n: meta.n, sum: task.inputs('square').reduce((sum, part) => sum + Number(part.meta.sum), 0) } };
    },
  });

/** The request that diamond answers with {n, sum}. */
export function diamondRequest(n: number): { request: PipelineRequest; result: Meta } {
  const data = Float64Array.from({ length: 64 }, (_, i) => n + i);
  const sum = data.reduce((total, value) => total + value * value, 0);
  return { request: { meta: { n }, parts: { x: tensor('f64', [data.length], data) } }, result: { n, sum } };
}

/** One of everything; what the handler does is in the request. */
export const obedient = workflow('obedient', here)
  .stage('first', { handler: (task) => ({ meta: task.input('request').meta }) })
  .stage('act', { after: ['first'], handler: (task) => act(task.input('first').meta, task.signal) });

async function act(meta: Meta, signal: AbortSignal) {
  switch (meta.act) {
    case 'exit':
      return process.exit(3);
    case 'exit-once':
      if (!existsSync(String(meta.file))) {
        writeFileSync(String(meta.file), '');
        process.exit(4);
      }
      return { meta };
    case 'throw-later':
      setImmediate(() => {
        throw new Error('thrown where nobody catches it');
      });
      return new Promise<never>(() => {});
    case 'spin':
      // Blocks the process, as a long computation does.
      for (;;);
    case 'wait':
      return new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    default:
      return { meta };
  }
}

/** What each handler knows of the trace that its request belongs to. */
export const contexts = workflow('contexts', here)
  .stage('first', { handler: (task) => ({ meta: { first: task.traceContext?.traceparent ?? null } }) })
  .stage('second', {
    after: ['first'],
    handler: (task) => ({ meta: { ...task.input('first').meta, second: task.traceContext?.traceparent ?? null } }),
  });

/** Exported by nobody: a worker cannot find it. */
export function hidden(): Workflow {
  return workflow('hidden', here).stage('a', { handler: () => ({}) });
}
