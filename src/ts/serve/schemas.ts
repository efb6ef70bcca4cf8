// What comes in and goes out, as JSON Schema (draft 2020-12): Fastify checks requests against these, and the OpenAPI
// document shows the same objects.
//
// Invariant: values of a query are text here, with the form that they must have; nothing is coerced.
import { DTYPES } from '../pipeline/index.js';

/** A JSON Schema. */
export type Schema = Readonly<Record<string, unknown>>;

const text = (description: string, more: Schema = {}): Schema => ({ type: 'string', description, ...more });
const number = (description: string, more: Schema = {}): Schema => ({ type: 'number', description, ...more });
const integer = (description: string, more: Schema = {}): Schema => ({ type: 'integer', description, ...more });
/** A whole number in a query. */
const digits = (description: string, most: number): Schema => text(description, { pattern: `^[0-9]{1,${most}}$` });
const object = (description: string, properties: Record<string, Schema>, required: readonly string[]): Schema => ({
  type: 'object',
  description,
  properties,
  required,
});

export const JOB_ID_PATTERN = '^[A-Za-z0-9._:-]{1,128}$';
const jobId = text('The identity of a job.', { pattern: JOB_ID_PATTERN });
const stageName = text('The name of a stage.', { pattern: '^[a-z][a-z0-9-]{0,62}$' });
const timestamp = (what: string) => integer(`${what}, in ms since 1970.`);

export const META = { type: 'object', description: 'JSON that goes with the tensors, at most 1 MiB.' } as const;

const tensorProperties = {
  dtype: { type: 'string', enum: DTYPES, description: 'The element type.' },
  shape: {
    type: 'array',
    items: { type: 'integer', minimum: 0 },
    maxItems: 8,
    description: 'The dimensions; none of them: one element.',
  },
  data: text('The elements, little-endian, in base64.'),
};

export const TENSOR: Schema = {
  ...object('A tensor.', tensorProperties, ['dtype', 'shape', 'data']),
  additionalProperties: false,
};

export const REQUEST_BODY: Schema = {
  type: 'object',
  description: 'A request of the workflow.',
  properties: { meta: META, parts: { type: 'object', maxProperties: 64, additionalProperties: TENSOR } },
  additionalProperties: false,
};

export const PROBLEM: Schema = object(
  'What went wrong (RFC 9457).',
  {
    type: text('about:blank: the code says it.'),
    title: text('What the status is called.'),
    status: integer('The status.'),
    detail: text('What went wrong, for people.'),
    instance: text('The number of the request, which the log has too.'),
    code: text('For programs, for example RDMA_ERR_REJECTED.', { pattern: '^[A-Z][A-Z0-9_]{1,63}$' }),
    remedy: text('What to do about it.'),
    retryAfterMs: integer('After how many ms a retry makes sense.'),
    retryToken: text('Sent back as Retry-Token with the retry, it keeps the place.'),
    stage: text('The stage that has no room in time, or that failed.'),
    expectedWaitMs: number('How long the request would have waited, in ms.'),
  },
  ['type', 'title', 'status', 'detail', 'instance', 'code'],
);

export const JOB: Schema = object(
  'What is known of a job.',
  {
    id: jobId,
    tenant: text('Whose it is.'),
    priority: integer('Jobs of a larger number go first.'),
    state: { type: 'string', enum: ['queued', 'running', 'done', 'failed', 'cancelled'] },
    submittedAtMs: timestamp('When it was submitted'),
    endedAtMs: timestamp('When it had its outcome'),
    attempts: integer('How often it was begun.'),
    requestBytes: integer('Tensors of the request.'),
    resultBytes: integer('Tensors of the result.'),
    error: object('Why it has no result.', { code: text('The code.'), message: text('For people.') }, [
      'code',
      'message',
    ]),
    links: object(
      'Where more is found.',
      {
        self: text('The job.'),
        result: text('Its result.'),
        events: text('Its events.'),
        pieces: text('The pieces of its result, as they come.'),
      },
      ['self', 'result', 'events', 'pieces'],
    ),
  },
  ['id', 'tenant', 'priority', 'state', 'submittedAtMs', 'attempts', 'requestBytes', 'links'],
);

export const JOB_LIST: Schema = object('Jobs, the newest first.', { jobs: { type: 'array', items: JOB } }, ['jobs']);

export const CANCELLED: Schema = object(
  'What became of it.',
  { cancelled: { type: 'boolean', description: 'False: it had its outcome already.' }, job: JOB },
  ['cancelled', 'job'],
);

export const RESULT: Schema = object(
  'What the last stages answered.',
  {
    job: jobId,
    outputs: {
      type: 'array',
      items: object(
        'Of one instance.',
        {
          stage: stageName,
          instance: integer('Which one of a sharded stage.'),
          meta: META,
          parts: { type: 'object', additionalProperties: TENSOR },
          pieces: {
            type: 'array',
            description: 'Of a stage that publishes pieces: these, in order.',
            items: object(
              'One piece.',
              { number: integer('0, 1 ...'), meta: META, parts: { type: 'object', additionalProperties: TENSOR } },
              ['number', 'meta', 'parts'],
            ),
          },
        },
        ['stage', 'instance', 'meta', 'parts'],
      ),
    },
  },
  ['job', 'outputs'],
);

export const WORKFLOW: Schema = object(
  'The graph of stages that is served.',
  {
    name: text('Its name.'),
    maxRequestBytes: integer('The largest request, in bytes of tensors.'),
    stages: { type: 'array', items: { type: 'object' } },
  },
  ['name', 'maxRequestBytes', 'stages'],
);

export const HEALTH: Schema = object(
  'How the server is.',
  { status: { type: 'string', enum: ['live', 'ready', 'starting', 'draining', 'failed'] } },
  ['status'],
);

export const JOB_PARAMS: Schema = { ...object('', { id: jobId }, ['id']), additionalProperties: false };
export const PART_PARAMS: Schema = {
  ...object('', { id: jobId, stage: stageName, part: text('The name of a part.', { minLength: 1, maxLength: 128 }) }, [
    'id',
    'stage',
    'part',
  ]),
  additionalProperties: false,
};

const submitProperties = {
  part: text('Of a raw body: the name of its part; default `data`.', { minLength: 1, maxLength: 128 }),
  meta: text('Of a raw body: its metadata, as JSON.'),
  tenant: text('Whose request it is; with tokens the token says it.', { pattern: '^[A-Za-z0-9._-]{1,64}$' }),
  priority: text('Requests of a larger number go first, -100 to 100; default 0.', { pattern: '^-?[0-9]{1,3}$' }),
  deadlineMs: digits('How long the job may take until its outcome, in ms; default as long as it takes.', 10),
  costClass: text('Requests of one class cost the same for each unit.', { minLength: 1, maxLength: 64 }),
  costUnits: text('How many units this one has; default 1.', { pattern: '^[0-9]{1,12}(\\.[0-9]{1,6})?$' }),
};
const query = (properties: Record<string, Schema>): Schema => ({
  type: 'object',
  properties,
  additionalProperties: false,
});

export const SUBMIT_QUERY = query(submitProperties);
export const RUN_QUERY = query({
  ...submitProperties,
  output: text('STAGE/PART: answer this part as it is and nothing else.', {
    pattern: '^[a-z][a-z0-9-]{0,62}/.{1,128}$',
  }),
});
export const LIST_QUERY = query({
  state: { type: 'string', enum: ['queued', 'running', 'done', 'failed', 'cancelled'], description: 'Only these.' },
  limit: digits('The most jobs, 1 to 1000; default 100.', 4),
});
export const RESULT_QUERY = query({ waitMs: digits('Wait for the outcome for so many ms; default 0.', 10) });
export const PART_QUERY = query({
  waitMs: digits('Wait for the outcome for so many ms; default 0.', 10),
  instance: digits('Which instance of a sharded stage; default 0.', 2),
});
export const EVENTS_QUERY = query({
  after: digits('Only events of a larger number; default 0. Last-Event-ID goes before it.', 15),
});
export const EMPTY_QUERY = query({});
