// The events of a job as server-sent events (HTML standard, "Server-sent events").
//
// Invariant: nothing is kept for a slow reader. The next event is taken when the connection has room for it, and a
// connection on which nothing moves ends; its client comes back with Last-Event-ID and misses nothing.
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { JobEvent } from '../jobs/index.js';
import type { ServerContext } from './context.js';
import type { FastifyInstance } from './fastify.js';
import { findJob } from './job-routes.js';
import { httpError, problemOf } from './problem.js';
import { register } from './register.js';
import { ROUTES } from './routes.js';
import { clientGone, hasEnded } from './waiting.js';

const RETRY_MS = 1000;

/** One event as it is sent. */
export function eventText(event: JobEvent): string {
  return `id: ${event.number}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

function afterOf(header: string | string[] | undefined, query: string | undefined): number {
  const text = typeof header === 'string' && header !== '' ? header : (query ?? '0');
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw httpError(400, 'RDMA_ERR_INVALID_ARGUMENT', 'Last-Event-ID must be the number of an event');
}

/** Adds the route. */
export function eventsRoute(app: FastifyInstance, context: ServerContext): void {
  const { settings, open, ending } = context;
  register(app, ROUTES.events, async (request, reply) => {
    const { job, record } = await findJob((request.params as { id: string }).id, request, context);
    const after = afterOf(request.headers['last-event-id'], (request.query as { after?: string }).after);
    if (open.streams >= settings.maxStreams) {
      throw httpError(503, 'RDMA_ERR_BUSY', 'too many clients listen to events', { retryAfterMs: 5000 });
    }
    const gone = clientGone(reply);
    const signal = AbortSignal.any([gone.signal, ending]);
    open.streams++;
    const events = job.events({ after, signal })[Symbol.asyncIterator]();
    try {
      let next: IteratorResult<JobEvent> | undefined;
      if (hasEnded(record)) {
        next = await events.next();
        // Tells an EventSource not to come back.
        if (next.done) return reply.code(204).send();
      }
      reply.hijack();
      const head = {
        ...reply.getHeaders(),
        'content-type': 'text/event-stream; charset=utf-8',
        'x-accel-buffering': 'no',
      };
      reply.raw.writeHead(200, head as Record<string, string>);
      reply.raw.write(`retry: ${RETRY_MS}\n\n`);
      const { socket } = request.raw;
      socket.setTimeout(Math.max(settings.idleTimeoutMs, 2 * settings.eventIntervalMs));
      const stop = keepAlive(reply.raw, settings.eventIntervalMs);
      try {
        for (next ??= await events.next(); !next.done; next = await events.next()) {
          if (!reply.raw.write(eventText(next.value))) await once(reply.raw, 'drain', { signal });
        }
      } catch (error) {
        if (!signal.aborted) {
          context.log.error({ request: request.id, job: job.id, err: error }, 'events end early');
          reply.raw.write(`event: error\ndata: ${JSON.stringify(problemOf(error, request.id).problem)}\n\n`);
        }
      } finally {
        stop();
        socket.setTimeout(settings.idleTimeoutMs);
        reply.raw.end();
      }
      return reply;
    } finally {
      open.streams--;
      gone.stop();
      // It may stand at an event that nobody takes any more.
      void events.return?.().catch(() => {});
    }
  });
}

// Comments, so that whoever is between does not take the connection for a dead one; not to a reader that is behind.
function keepAlive(raw: ServerResponse, intervalMs: number): () => void {
  const timer = setInterval(() => {
    if (!raw.writableNeedDrain) raw.write(': still there\n\n');
  }, intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}
