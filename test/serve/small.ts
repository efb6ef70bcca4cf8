// A small workflow of the tests over HTTP; its processes import this file.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Tensor, workflow } from '../../src/ts/pipeline/index.js';

const MAX_BYTES = 2 ** 20;

/** Answers what it gets; `meta.act` says how: at once, after `meta.ms`, or with an error. */
export const small = workflow('small', { module: __filename, maxRequestBytes: MAX_BYTES })
  .stage('look', {
    maxOutputBytes: MAX_BYTES,
    handler: (task) => {
      const { meta, parts } = task.input('request');
      return { meta, parts: parts as Record<string, Tensor> };
    },
  })
  .stage('act', {
    after: ['look'],
    maxOutputBytes: MAX_BYTES,
    cost: { unitMs: { minute: 60_000 } },
    handler: async (task) => {
      const { meta, parts } = task.input('look');
      if (meta.act === 'throw') throw new Error('it does not work');
      if (meta.act === 'wait') {
        for (let i = 1; i <= 4; i++) {
          await sleep(Number(meta.ms) / 4, undefined, { signal: task.signal });
          task.progress(i / 4);
        }
      }
      return { meta, parts: parts as Record<string, Tensor> };
    },
  });

/** Refuses what says that it is to be refused; the tests give it to a server. */
export function prepare<T extends { meta: Record<string, unknown> }>(request: T) {
  const { cost, ...meta } = request.meta;
  return { ...request, meta, ...(typeof cost === 'number' ? { cost: { class: 'minute', units: cost } } : {}) };
}
