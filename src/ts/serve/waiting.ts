// Requests that wait for an outcome.
//
// Invariant: their number is bounded; whoever goes away, or stays while the server ends, does not wait on. A connection
// that waits is not taken for a dead one.
import type { RdmaError } from '../core/errors.js';
import type { Job, JobRecord } from '../jobs/index.js';
import type { PipelineResult } from '../pipeline/index.js';
import type { ServerContext } from './context.js';
import type { FastifyReply, FastifyRequest } from './fastify.js';
import { httpError } from './problem.js';

/** Whether a job has its outcome. */
export const hasEnded = ({ state }: JobRecord): boolean => state !== 'queued' && state !== 'running';

/** Aborted when the client of a request is gone before it was answered; `stop` ends the looking. */
export function clientGone(reply: FastifyReply): { signal: AbortSignal; stop: () => void } {
  const controller = new AbortController();
  const onClose = () => {
    if (!reply.raw.writableFinished) controller.abort();
  };
  reply.raw.on('close', onClose);
  if (reply.raw.destroyed || reply.raw.socket === null || reply.raw.socket.destroyed) controller.abort();
  return { signal: controller.signal, stop: () => reply.raw.off('close', onClose) };
}

/**
 * Waits for the result of a job.
 *
 * @param waitMs how long, from 0
 * @returns undefined: it has no outcome within this time, or its client is gone
 * @throws RdmaError the error of the job; HttpError 503 when the server ends meanwhile, or too many wait
 */
export async function waitForResult(
  job: Job,
  waitMs: number,
  request: FastifyRequest,
  reply: FastifyReply,
  context: ServerContext,
): Promise<PipelineResult | undefined> {
  if (hasEnded(await job.record())) return job.result();
  if (waitMs === 0) return undefined;
  const { open, settings, ending } = context;
  if (open.waiting >= settings.maxWaiting) {
    throw httpError(503, 'RDMA_ERR_BUSY', 'too many requests wait for results', {
      retryAfterMs: 1000,
      remedy: 'look at the job later, or listen to its events',
    });
  }
  const gone = clientGone(reply);
  const time = new AbortController();
  const timer = setTimeout(() => time.abort(), waitMs);
  const { socket } = request.raw;
  socket.setTimeout(0);
  socket.setKeepAlive(true, 30_000);
  open.waiting++;
  try {
    return await job.result({ signal: AbortSignal.any([gone.signal, time.signal, ending]) });
  } catch (error) {
    const isEnough = gone.signal.aborted || time.signal.aborted || ending.aborted;
    if (!isEnough || (error as Partial<RdmaError>).code !== 'RDMA_ERR_ABORTED') throw error;
    if (!ending.aborted) return undefined;
    throw httpError(503, 'RDMA_ERR_CLOSED', 'the server ends; the job stays in its store', { retryAfterMs: 1000 });
  } finally {
    open.waiting--;
    clearTimeout(timer);
    gone.stop();
    socket.setTimeout(settings.idleTimeoutMs);
  }
}
