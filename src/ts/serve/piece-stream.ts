// A result piece by piece, as multipart/mixed: what happens as JSON, and behind it the tensors that it names.
//
// Invariant: one piece is on its way to a reader at a time; the next one is taken when the connection has room for it,
// and nothing is kept for a reader that is slow. One that takes nothing for the idle time-out is cut; it may read again
// from the first. An answer that ended has its last boundary, and says `done` or `problem` before it.
import { once } from 'node:events';
import type { Job } from '../jobs/index.js';
import type { PipelineResult } from '../pipeline/index.js';
import { bytesOf } from '../pipeline/tensor.js';
import type { ServerContext } from './context.js';
import type { FastifyReply, FastifyRequest } from './fastify.js';
import { partType } from './media.js';
import { MixedWriter } from './mixed.js';
import { httpError, problemOf } from './problem.js';
import { contentName, type Holder, outputsAbout, partsAbout } from './result-body.js';
import { clientGone } from './waiting.js';

/**
 * Answers the pieces of a job as they come, and its result behind them.
 *
 * @param limitMs after which it ends with a problem; the job goes on
 * @returns false when its client went away before the end
 * @throws HttpError 503 when too many read
 */
export async function sendPieces(
  job: Job,
  limitMs: number,
  request: FastifyRequest,
  reply: FastifyReply,
  context: ServerContext,
): Promise<boolean> {
  const { settings, open, ending, log } = context;
  if (open.streams >= settings.maxStreams) {
    throw httpError(503, 'RDMA_ERR_BUSY', 'too many clients read what comes', { retryAfterMs: 5000 });
  }
  const gone = clientGone(reply);
  const time = new AbortController();
  const timer = setTimeout(() => time.abort(), limitMs);
  const signal = AbortSignal.any([gone.signal, time.signal, ending]);
  const writer = new MixedWriter();
  const { raw } = reply;
  const { socket } = request.raw;
  const write = async (chunks: readonly Uint8Array[]) => {
    raw.cork();
    for (const chunk of chunks) raw.write(chunk);
    raw.uncork();
    if (!raw.writableNeedDrain) return;
    // Now it is the client's turn.
    socket.setTimeout(settings.idleTimeoutMs);
    await once(raw, 'drain', { signal: AbortSignal.any([gone.signal, ending]) });
    socket.setTimeout(0);
  };
  open.streams++;
  reply.hijack();
  socket.setTimeout(0);
  socket.setKeepAlive(true, 30_000);
  const head = { ...reply.getHeaders(), 'content-type': writer.contentType, vary: 'accept', 'x-accel-buffering': 'no' };
  raw.writeHead(200, head as Record<string, string>);
  raw.flushHeaders();
  try {
    try {
      for await (const event of job.pieces({ signal })) {
        const { type, stage, instance } = event;
        if (type === 'restarted') await write(writer.json({ type, stage, instance }));
        else {
          const { number, meta } = event;
          await write(writer.json({ type, stage, instance, number, meta, parts: partsAbout(event) }));
          await writeParts(event, writer, write);
        }
      }
      await writeResult(job.id, await job.result({ signal }), writer, write);
    } catch (error) {
      if (gone.signal.aborted) return false;
      const { problem, isDefect } = problemOf(
        ending.aborted || time.signal.aborted ? late(limitMs, ending) : error,
        request.id,
      );
      if (isDefect) log.error({ request: request.id, job: job.id, err: error }, 'pieces end with a problem');
      await write(writer.json({ type: 'problem', problem }));
    }
    await write([writer.end()]);
    return true;
  } catch (error) {
    if (!gone.signal.aborted && !ending.aborted) throw error;
    return !gone.signal.aborted;
  } finally {
    clearTimeout(timer);
    gone.stop();
    open.streams--;
    socket.setTimeout(settings.idleTimeoutMs);
    raw.end();
  }
}

function late(limitMs: number, ending: AbortSignal): unknown {
  if (!ending.aborted) {
    return httpError(504, 'RDMA_ERR_TIMEOUT', `it has no outcome after ${limitMs} ms`, { remedy: 'the job goes on' });
  }
  return httpError(503, 'RDMA_ERR_CLOSED', 'the server ends; the job stays in its store', { retryAfterMs: 1000 });
}

type Write = (chunks: readonly Uint8Array[]) => Promise<void>;

// The outputs without their pieces, which the client has already.
async function writeResult(job: string, { outputs }: PipelineResult, writer: MixedWriter, write: Write): Promise<void> {
  const whole = outputs.map(({ pieces: _, ...output }) => output);
  await write(writer.json({ type: 'done', job, outputs: outputsAbout(whole) }));
  for (const output of whole) await writeParts(output, writer, write);
}

async function writeParts(holder: Holder, writer: MixedWriter, write: Write): Promise<void> {
  for (const [part, tensor] of Object.entries(holder.parts)) {
    const headers = {
      'Content-Location': encodeURI(contentName(holder, part)),
      'X-Tensor-Dtype': tensor.dtype,
      'X-Tensor-Shape': tensor.shape.join(','),
    };
    await write(writer.part(partType(holder.meta, part), headers, bytesOf(tensor)));
  }
}
