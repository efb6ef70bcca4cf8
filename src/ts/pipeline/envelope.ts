// The head of a message between stages: which request, from whom, what went on before, and the metadata.
//
// Invariant: an envelope that does not have exactly this form is refused before anything of it is used.
import * as v from 'valibot';
import { RdmaError } from '../core/errors.js';
import type { Meta } from './workflow.js';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const name = v.pipe(v.string(), v.maxLength(128));
const micros = v.pipe(v.number(), v.finite());

const isRecord = (value: unknown): value is Meta =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const Task = v.strictObject({ stage: name, instance: count, queueUs: micros, computeUs: micros });
const Hop = v.strictObject({
  from: name,
  fromInstance: count,
  to: name,
  toInstance: count,
  bytes: count,
  us: micros,
  device: name,
});

const EnvelopeSchema = v.strictObject({
  workflow: name,
  request: v.pipe(v.string(), v.minLength(1), v.maxLength(128)),
  ticket: count,
  /** Every request with a smaller ticket was answered: what is still kept for it is not needed. */
  finishedBelow: count,
  from: name,
  fromInstance: count,
  /** CLOCK_MONOTONIC when sending began, in microseconds. */
  sentAtUs: micros,
  /** Wall clock, in ms since 1970; null without a deadline. */
  deadlineAt: v.nullable(count),
  trace: v.strictObject({
    tasks: v.pipe(v.array(Task), v.maxLength(4096)),
    hops: v.pipe(v.array(Hop), v.maxLength(16384)),
  }),
  meta: v.custom<Meta>(isRecord, 'is not an object'),
  /** Set instead of a result when a stage has failed. */
  error: v.nullable(v.strictObject({ stage: name, code: v.string(), message: v.string() })),
});

export type Envelope = v.InferOutput<typeof EnvelopeSchema>;
export type StageFailure = NonNullable<Envelope['error']>;

/**
 * Checks metadata before it is sent.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it is something that the other side would refuse
 */
export function checkMeta(meta: unknown): Meta {
  if (isRecord(meta)) {
    const plain = Object.getPrototypeOf(meta) === Object.prototype && typeof meta.toJSON !== 'function';
    // A Date, say, is an object here and a string there.
    if (plain || jsonOf(meta)?.startsWith('{')) return meta;
  }
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'the metadata is not an object', {
    remedy: 'put it under a name: { value: ... }',
  });
}

function jsonOf(meta: Meta): string | undefined {
  try {
    return JSON.stringify(meta);
  } catch {
    return undefined;
  }
}

/** @throws RdmaError RDMA_ERR_PROTOCOL naming the field that is wrong */
export function parseEnvelope(head: unknown): Envelope {
  const result = v.safeParse(EnvelopeSchema, head);
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new RdmaError('RDMA_ERR_PROTOCOL', `envelope: ${v.getDotPath(issue) ?? ''} ${issue.message}`);
}
