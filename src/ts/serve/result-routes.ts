// Results by HTTP: whole ones, single parts with ranges, and runs that wait.
//
// Invariant: reading a result does not remove it. A client that waits and goes away costs nothing further: its job is
// cancelled where the server is set so.
import { Readable } from 'node:stream';
import type { JobRecord } from '../jobs/index.js';
import type { PipelineResult } from '../pipeline/index.js';
import type { ServerContext } from './context.js';
import type { FastifyInstance, FastifyReply, FastifyRequest } from './fastify.js';
import { findJob, jobDocument, jobUrl, submitJob } from './job-routes.js';
import { negotiate } from './media.js';
import { MIXED_TYPE } from './mixed.js';
import { sendPieces } from './piece-stream.js';
import { httpError } from './problem.js';
import { parseRange } from './range.js';
import { register } from './register.js';
import { findPart, lengthOf, partBody, partOffers, RESULT_TYPES, resultBody, slicePieces } from './result-body.js';
import { ROUTES } from './routes.js';
import { clientGone, hasEnded, waitForResult } from './waiting.js';

/** Sends pieces one behind the other, without putting them together. */
function sendBody(reply: FastifyReply, pieces: readonly Uint8Array[]): FastifyReply {
  reply.header('content-length', lengthOf(pieces));
  return reply.send(Readable.from(pieces));
}

function waitOf(request: FastifyRequest, { settings }: ServerContext): number {
  return Math.min(Number((request.query as { waitMs?: string }).waitMs ?? 0), settings.maxWaitMs);
}

function unfinished(reply: FastifyReply, record: JobRecord): FastifyReply {
  return reply.code(202).header('retry-after', '1').header('location', jobUrl(record.id)).send(jobDocument(record));
}

function sendResult(
  job: string,
  result: PipelineResult,
  request: FastifyRequest,
  reply: FastifyReply,
  { settings }: ServerContext,
): FastifyReply {
  const type = negotiate(request.headers.accept, RESULT_TYPES);
  const { contentType, pieces } = resultBody(job, result, type, settings.maxJsonResultBytes);
  return sendBody(reply.header('content-type', contentType).header('vary', 'accept'), pieces);
}

interface PartOfResult {
  stage: string;
  instance: number;
  part: string;
}

function sendPart(
  result: PipelineResult,
  { stage, instance, part }: PartOfResult,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const found = findPart(result, stage, instance, part);
  if (found === undefined) {
    const names = result.outputs.flatMap((output) =>
      Object.keys(output.parts).map((name) => `${output.stage}/${name}`),
    );
    throw httpError(404, 'RDMA_ERR_NOT_FOUND', `the result has no part ${stage}/${part} of instance ${instance}`, {
      remedy: `it has ${[...new Set(names)].slice(0, 20).join(', ') || 'none'}`,
    });
  }
  const { headers } = request;
  const type = negotiate(headers.accept, partOffers(found.output, part));
  const { contentType, pieces, etag } = partBody(found.tensor, type);
  reply.headers({
    'content-type': contentType,
    'accept-ranges': 'bytes',
    etag,
    vary: 'accept',
    // The same for ever, but only for whoever has asked.
    'cache-control': 'private, no-cache',
    'x-tensor-dtype': found.tensor.dtype,
    'x-tensor-shape': found.tensor.shape.join(','),
  });
  if (headers['if-none-match']?.split(',').some((tag) => tag.trim() === etag || tag.trim() === '*')) {
    return reply.code(304).send();
  }
  const length = lengthOf(pieces);
  const mayRange = headers['if-range'] === undefined || headers['if-range'] === etag;
  const range = mayRange ? parseRange(headers.range, length) : undefined;
  if (range === undefined) return sendBody(reply, pieces);
  if (range === 'unsatisfiable') {
    const error = httpError(416, 'RDMA_ERR_INVALID_ARGUMENT', `the part has ${length} bytes`);
    throw Object.assign(error, { headers: { 'content-range': `bytes */${length}` } });
  }
  const { begin, end } = range;
  reply.code(206).header('content-range', `bytes ${begin}-${end - 1}/${length}`);
  return sendBody(reply, slicePieces(pieces, begin, end));
}

/** Adds the routes. */
export function resultRoutes(app: FastifyInstance, context: ServerContext): void {
  register(app, ROUTES.pieces, async (request, reply) => {
    const { job, record } = await findJob((request.params as { id: string }).id, request, context);
    negotiate(request.headers.accept, [MIXED_TYPE]);
    // One that failed is a problem, with its status.
    if (hasEnded(record) && record.state !== 'done') await job.result();
    await sendPieces(job, context.settings.maxRunMs, request, reply, context);
    return reply;
  });
  register(app, ROUTES.result, async (request, reply) => {
    const { job } = await findJob((request.params as { id: string }).id, request, context);
    const result = await waitForResult(job, waitOf(request, context), request, reply, context);
    if (result === undefined) return unfinished(reply, await job.record());
    return sendResult(job.id, result, request, reply, context);
  });
  register(app, ROUTES.part, async (request, reply) => {
    const { id, stage, part } = request.params as { id: string; stage: string; part: string };
    const instance = Number((request.query as { instance?: string }).instance ?? 0);
    const { job } = await findJob(id, request, context);
    const result = await waitForResult(job, waitOf(request, context), request, reply, context);
    if (result === undefined) return unfinished(reply, await job.record());
    return sendPart(result, { stage, instance, part }, request, reply);
  });
  register(app, ROUTES.run, async (request, reply) => {
    const { output } = request.query as { output?: string };
    // Before any work is done for what cannot be answered.
    const type = output === undefined ? negotiate(request.headers.accept, [...RESULT_TYPES, MIXED_TYPE]) : undefined;
    if (output !== undefined) checkOutput(output, context);
    const { settings, log } = context;
    const gone = clientGone(reply);
    const { job, isNew } = await submitJob(request, context);
    gone.stop();
    reply.header('location', jobUrl(job.id));
    const isGone = gone.signal.aborted;
    if (type === MIXED_TYPE && !isGone && (await sendPieces(job, settings.maxRunMs, request, reply, context)))
      return reply;
    const result =
      isGone || type === MIXED_TYPE ? undefined : await waitForResult(job, settings.maxRunMs, request, reply, context);
    if (result !== undefined) {
      if (output === undefined) return sendResult(job.id, result, request, reply, context);
      const [stage = '', part = ''] = splitOutput(output);
      return sendPart(result, { stage, instance: 0, part }, request, reply);
    }
    if (type !== MIXED_TYPE && !reply.raw.destroyed && !isGone) {
      throw httpError(504, 'RDMA_ERR_TIMEOUT', `there is no result after ${settings.maxRunMs} ms`, {
        remedy: `the job goes on: look at ${jobUrl(job.id)}`,
      });
    }
    if (settings.cancelOnDisconnect && isNew) {
      log.info({ request: request.id, job: job.id }, 'the client is gone: its job is cancelled');
      await job.cancel();
    }
    return reply;
  });
}

function splitOutput(output: string): [string, string] {
  const slash = output.indexOf('/');
  return [output.slice(0, slash), output.slice(slash + 1)];
}

function checkOutput(output: string, { spec }: ServerContext): void {
  const [stage] = splitOutput(output);
  const after = new Set(spec.stages.flatMap((each) => each.after));
  const sinks = spec.stages.map(({ name }) => name).filter((name) => !after.has(name));
  if (sinks.includes(stage)) return;
  throw httpError(404, 'RDMA_ERR_NOT_FOUND', `${stage} is no last stage of ${spec.name}`, {
    remedy: `its last stages are ${sinks.join(', ')}`,
  });
}
