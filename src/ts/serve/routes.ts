// The routes of the server as data: what registers them, what checks their requests and what documents them.
//
// Invariant: there is no route beside these but what a caller of serve() adds, and each is in the OpenAPI document.
import { JSON_TYPE, OCTETS } from './media.js';
import { MIXED_TYPE } from './mixed.js';
import { FORM_TYPE } from './multipart.js';
import { NPY_TYPE } from './npy.js';
import { SAFETENSORS_TYPE } from './safetensors.js';
import * as s from './schemas.js';
import type { Schema } from './schemas.js';

/** What a route may answer. */
export interface AnswerSpec {
  about: string;
  /** By media type; undefined: no body. */
  content?: Readonly<Record<string, Schema>>;
  /** Headers beside those of every answer, and what they say. */
  headers?: Readonly<Record<string, string>>;
}

/** A route. */
export interface RouteSpec {
  /** Its name for programs that are made from the document. */
  id: string;
  method: 'GET' | 'POST' | 'DELETE';
  /** With parameters as Fastify writes them, `:id`. */
  url: string;
  summary: string;
  /** Headers of the request that it reads, and what they say. */
  headers?: Readonly<Record<string, string>>;
  params?: Schema;
  query: Schema;
  /** Whether it takes a request of the workflow. */
  takesRequest?: boolean;
  /** Whether it needs no token. */
  isOpen?: boolean;
  /** Whether its answer goes on for as long as something happens: HEAD would have nothing to report. */
  isStream?: boolean;
  answers: Readonly<Record<number, AnswerSpec>>;
  /** Statuses of problem documents beside those that every route may have. */
  problems: readonly number[];
}

const BINARY: Schema = { type: 'string', format: 'binary' };
const json = (schema: Schema) => ({ [JSON_TYPE]: schema });
const html = { 'text/html': { type: 'string' } };
const LOCATION = { Location: 'The job.' };
const RESULTS = { [JSON_TYPE]: s.RESULT, [FORM_TYPE]: BINARY, [SAFETENSORS_TYPE]: BINARY };
const PIECES: AnswerSpec = {
  about:
    'What happens, each as a part of JSON: piece, restarted (the pieces of that instance come from the first again), and at the end done or problem. Behind a piece, and behind done, a part for each tensor that it names.',
  content: { [MIXED_TYPE]: BINARY },
};
const UNFINISHED: AnswerSpec = {
  about: 'It has no outcome yet.',
  content: json(s.JOB),
  headers: { 'Retry-After': 'Seconds until a look may pay.' },
};
const SUBMIT_HEADERS = {
  'Idempotency-Key':
    'The identity of the job, 1 to 128 of A-Z a-z 0-9 . _ : -. Submitted again it is the same job; another request with it is refused with 422.',
  'Retry-Token': 'The retryToken of the refusal after which this comes again.',
  traceparent: 'W3C trace context that the job belongs to.',
  tracestate: 'Goes with traceparent.',
};

/** The bodies that a request of the workflow may have. */
export const REQUEST_CONTENT: Readonly<Record<string, Schema>> = {
  [JSON_TYPE]: s.REQUEST_BODY,
  [FORM_TYPE]: {
    type: 'object',
    description:
      'meta is JSON; every other part is a file: .npy and safetensors become tensors, the rest stays as it is, as u8.',
    properties: { meta: { type: 'string' } },
    additionalProperties: BINARY,
  },
  [SAFETENSORS_TYPE]: BINARY,
  [NPY_TYPE]: BINARY,
  [OCTETS]: BINARY,
  'image/*': BINARY,
  'audio/*': BINARY,
  'video/*': BINARY,
};

export const ROUTES = {
  submit: {
    id: 'submitJob',
    method: 'POST',
    url: '/v1/jobs',
    summary: 'Submit a job. It is stored when this answers.',
    headers: SUBMIT_HEADERS,
    query: s.SUBMIT_QUERY,
    takesRequest: true,
    answers: {
      202: { about: 'It is accepted.', content: json(s.JOB), headers: LOCATION },
      200: { about: 'There was a job of this Idempotency-Key: this one.', content: json(s.JOB), headers: LOCATION },
    },
    problems: [403, 408, 409, 413, 415, 422, 429, 503],
  },
  list: {
    id: 'listJobs',
    method: 'GET',
    url: '/v1/jobs',
    summary: 'List jobs, the newest first.',
    query: s.LIST_QUERY,
    answers: { 200: { about: 'The jobs.', content: json(s.JOB_LIST) } },
    problems: [],
  },
  show: {
    id: 'getJob',
    method: 'GET',
    url: '/v1/jobs/:id',
    summary: 'What is known of a job.',
    params: s.JOB_PARAMS,
    query: s.EMPTY_QUERY,
    answers: { 200: { about: 'The job.', content: json(s.JOB) } },
    problems: [404],
  },
  cancel: {
    id: 'cancelJob',
    method: 'DELETE',
    url: '/v1/jobs/:id',
    summary: 'Cancel a job, wherever it is.',
    params: s.JOB_PARAMS,
    query: s.EMPTY_QUERY,
    answers: { 200: { about: 'What became of it.', content: json(s.CANCELLED) } },
    problems: [404],
  },
  result: {
    id: 'getResult',
    method: 'GET',
    url: '/v1/jobs/:id/result',
    summary: 'The whole result, by Accept as JSON, as a form or as safetensors. Reading it does not take it away.',
    params: s.JOB_PARAMS,
    query: s.RESULT_QUERY,
    answers: { 200: { about: 'The result.', content: RESULTS }, 202: UNFINISHED },
    problems: [404, 406, 409, 503, 504],
  },
  part: {
    id: 'getResultPart',
    method: 'GET',
    url: '/v1/jobs/:id/result/:stage/:part',
    summary: 'One part of the result: its bytes, or by Accept a NumPy array.',
    headers: {
      Range: 'One range of bytes.',
      'If-None-Match': 'The ETag of what is known.',
      'If-Range': 'Likewise, for Range.',
    },
    params: s.PART_PARAMS,
    query: s.PART_QUERY,
    answers: {
      200: {
        about: 'The part.',
        content: { [OCTETS]: BINARY, [NPY_TYPE]: BINARY, 'image/*': BINARY },
        headers: {
          ETag: 'Of these bytes.',
          'X-Tensor-Dtype': 'The element type.',
          'X-Tensor-Shape': 'The dimensions.',
        },
      },
      206: {
        about: 'The range.',
        content: { [OCTETS]: BINARY },
        headers: { 'Content-Range': 'Which bytes these are.' },
      },
      304: { about: 'It is what is known.' },
      202: UNFINISHED,
    },
    problems: [404, 406, 409, 416, 503, 504],
  },
  events: {
    id: 'getEvents',
    method: 'GET',
    url: '/v1/jobs/:id/events',
    isStream: true,
    summary: 'What happens to a job, as server-sent events until its outcome.',
    headers: { 'Last-Event-ID': 'Only events of a larger number.' },
    params: s.JOB_PARAMS,
    query: s.EVENTS_QUERY,
    answers: {
      200: { about: 'The events; the data of each is JSON.', content: { 'text/event-stream': { type: 'string' } } },
      204: { about: 'There is nothing more to come.' },
    },
    problems: [404, 503],
  },
  pieces: {
    id: 'getPieces',
    method: 'GET',
    url: '/v1/jobs/:id/pieces',
    summary: 'The pieces of a result as they come, and the rest of it behind them.',
    params: s.JOB_PARAMS,
    query: s.EMPTY_QUERY,
    isStream: true,
    answers: { 200: PIECES },
    problems: [404, 406, 409, 503, 504],
  },
  run: {
    id: 'run',
    method: 'POST',
    url: '/v1/run',
    summary: 'Submit a job and wait for its result. When the client goes away, the job is cancelled.',
    headers: SUBMIT_HEADERS,
    query: s.RUN_QUERY,
    takesRequest: true,
    answers: {
      200: {
        about: 'The result; as multipart/mixed, piece by piece as GET .../pieces.',
        content: { ...RESULTS, [MIXED_TYPE]: BINARY, [OCTETS]: BINARY, 'image/*': BINARY },
        headers: LOCATION,
      },
    },
    problems: [403, 404, 406, 408, 409, 413, 415, 422, 429, 503, 504],
  },
  workflow: {
    id: 'getWorkflow',
    method: 'GET',
    url: '/v1/workflow',
    summary: 'The workflow that is served.',
    query: s.EMPTY_QUERY,
    answers: { 200: { about: 'Its graph.', content: json(s.WORKFLOW) } },
    problems: [],
  },
  live: {
    id: 'getLive',
    method: 'GET',
    url: '/livez',
    summary: 'Whether the process works.',
    query: s.EMPTY_QUERY,
    isOpen: true,
    answers: { 200: { about: 'It does.', content: json(s.HEALTH) } },
    problems: [],
  },
  ready: {
    id: 'getReady',
    method: 'GET',
    url: '/readyz',
    summary: 'Whether new work is taken.',
    query: s.EMPTY_QUERY,
    isOpen: true,
    answers: {
      200: { about: 'It is.', content: json(s.HEALTH) },
      503: { about: 'It is not, now.', content: json(s.HEALTH), headers: { 'Retry-After': 'Seconds.' } },
    },
    problems: [],
  },
  openapi: {
    id: 'getOpenApi',
    method: 'GET',
    url: '/openapi.json',
    summary: 'This document.',
    query: s.EMPTY_QUERY,
    answers: { 200: { about: 'OpenAPI 3.1.', content: json({ type: 'object' }) } },
    problems: [],
  },
  docs: {
    id: 'getDocs',
    method: 'GET',
    url: '/docs',
    summary: 'This document, for people.',
    query: s.EMPTY_QUERY,
    answers: { 200: { about: 'A page.', content: html } },
    problems: [],
  },
} as const satisfies Record<string, RouteSpec>;

/** Statuses of problem documents that every route may answer. */
export const COMMON_PROBLEMS = [400, 401, 421, 500] as const;
