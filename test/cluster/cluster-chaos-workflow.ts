// The workflow of the chaos on a cluster; workers import this file.
//
// Invariant: the answer to a request, and each piece of it, depends on its number only.
import { setTimeout as sleep } from 'node:timers/promises';
import { type PipelineRequest, tensor, workflow } from '../../src/ts/pipeline/index.js';

export const PIECES = 3;
const VALUES = 512;
const ATTEMPTS = 1000; // its processes are killed

const numbersOf = (data: unknown): Float64Array => data as Float64Array;

/** Fan-out, shards, fan-in, and pieces on the way to the caller. */
export const clusterChaos = workflow('cluster-chaos', { module: __filename, maxRequestBytes: 64 * 1024 })
  .stage('double', {
    instances: 2,
    concurrency: 2,
    attempts: ATTEMPTS,
    maxOutputBytes: 64 * 1024,
    handler: async (task) => {
      const { meta, parts } = task.input('request');
      await sleep(2);
      const data = numbersOf(parts.x?.data).map((value) => value * 2);
      return { meta, parts: { x: tensor('f64', [data.length], data) } };
    },
  })
  .stage('square', {
    instances: 2,
    spread: 'shard',
    concurrency: 2,
    after: ['request', 'double'],
    attempts: ATTEMPTS,
    handler: (task) => {
      const doubled = numbersOf(task.input('double').parts.x?.data);
      const data = numbersOf(task.input('request').parts.x?.data);
      let sum = 0;
      for (let i = task.instance; i < data.length; i += task.instances) sum += doubled[i]! * data[i]!;
      return { meta: { sum } };
    },
  })
  .stage('total', {
    after: ['double', 'square'],
    attempts: ATTEMPTS,
    maxPieces: PIECES,
    handler: async (task) => {
      const { n } = task.input('double').meta;
      for (let number = 0; number < PIECES; number++) await task.stream().write({}, { n, number });
      return { meta: { n, sum: task.inputs('square').reduce((sum, { meta }) => sum + Number(meta.sum), 0) } };
    },
  });

/** A request, and what it must come to. */
export function chaosRequest(n: number): { request: PipelineRequest; result: { n: number; sum: number } } {
  const data = Float64Array.from({ length: VALUES }, (_, i) => (n % 1000) + i);
  const sum = data.reduce((total, value) => total + 2 * value * value, 0);
  return { request: { meta: { n }, parts: { x: tensor('f64', [VALUES], data) } }, result: { n, sum } };
}
