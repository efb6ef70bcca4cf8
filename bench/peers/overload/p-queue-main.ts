// The server of the p-queue peer, as somebody writes it who has read the manuals of Fastify and p-queue.
//
// Invariant: a request that finds the queue full is answered with 503 at once; one whose client is gone leaves the
// queue, or stops its work.
import type * as Fastify from 'fastify';
import { STAGES, type WorkKind } from '../../../src/ts/bench/overload/settings.js';
import { work } from '../../../src/ts/bench/overload/work.js';
import { serveParent } from '../../../src/ts/bench/kit/partner.js';
import { importPackage, loadPackage } from '../installed.js';

export interface PQueueRequest {
  concurrency: number;
  bound: number;
  work: WorkKind;
}

/** What is used of p-queue. */
interface PQueue {
  /** Tasks that wait. */
  readonly size: number;
  add(run: () => Promise<void>, options: { signal: AbortSignal }): Promise<void>;
}

interface PQueueModule {
  default: new (options: { concurrency: number }) => PQueue;
}

const body = {
  type: 'object',
  required: ['ms'],
  properties: { ms: { type: 'array', items: { type: 'integer', minimum: 0 }, minItems: STAGES.length } },
};

serveParent<PQueueRequest>(async ({ concurrency, bound, work: kind }) => {
  const { fastify } = loadPackage<typeof Fastify>('fastify');
  const { default: Queue } = await importPackage<PQueueModule>('p-queue');
  const queue = new Queue({ concurrency });
  const app = fastify();
  app.post<{ Body: { ms: number[] } }>('/run', { schema: { body } }, async (request, reply) => {
    if (queue.size >= bound) return reply.code(503).header('retry-after', '1').send({ error: 'busy' });
    const control = new AbortController();
    const { signal } = control;
    const gone = () => control.abort();
    reply.raw.once('close', gone);
    try {
      const run = async () => {
        for (const ms of request.body.ms) await work(kind, ms, signal);
      };
      await queue.add(run, { signal });
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      reply.raw.off('close', gone);
    }
    return { done: true };
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  return { port: (app.server.address() as { port: number }).port };
});
