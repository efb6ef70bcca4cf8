// What a stage process and its Python process tell each other.
//
// Invariant: both ends are this package in the same version. What comes from Python is looked at before it is believed:
// the code of a stage may have written anywhere.
import { RdmaError } from '../../core/errors.js';
import type { Meta } from '../../pipeline/index.js';

/** Why a task is not wanted any more, as a word. */
export const WHY: Readonly<Record<string, number>> = { RDMA_ERR_DEADLINE: 1, RDMA_ERR_TIMEOUT: 2 };
export const WHY_ENDED = 3;

/**
 * A tensor of an input: name, dtype, shape, number of the segment, where it begins in it, bytes; of one that lies on a
 * GPU its description in the end, and segment 0.
 */
export type PlacedPart =
  | readonly [string, string, readonly number[], number, number, number]
  | readonly [string, string, readonly number[], number, number, number, string];
/** Receivers that a GPU output can go to, each with its probe; or why it goes through the host. */
export type GpuPeers = string | readonly (readonly [string, string])[];
/** An input: stage, instance, metadata, parts. */
export type PlacedInput = readonly [string, number, Meta, readonly PlacedPart[]];

export interface TaskRecord {
  t: 'task';
  slot: number;
  /** Begin it now; a task of a batch begins with the record `run`. */
  run: boolean;
  request: string;
  seed: number;
  instance: number;
  instances: number;
  spread: string;
  /** In ms; null: there is no deadline. */
  remaining: number | null;
  inputs: readonly PlacedInput[];
  /** Where small outputs may be made: number of a segment, from, to. */
  room: readonly [number, number, number];
  /** Outputs of more bytes are asked for. */
  inline: number;
  /** The most bytes of its output. */
  limit: number;
  /** Where the process offers memory of a GPU. */
  gpu?: GpuPeers | undefined;
}

export type ToPython =
  | {
      t: 'start';
      file: string;
      name: string;
      stage: string;
      instance: number;
      concurrency: number;
      batch: boolean;
      poll: number;
      /** The stage has GPUs. */
      gpu: boolean;
    }
  | TaskRecord
  | { t: 'run'; slots: readonly number[] }
  | { t: 'output'; slot: number; id: number; segment: number; offset: number }
  | { t: 'refused'; slot: number; id: number; error: string }
  | { t: 'drop'; segment: number }
  | { t: 'free'; block: number }
  | { t: 'stop' };

/**
 * A part of an output: made in memory that was asked for; in the room of its task; of an input, as it is; or on a GPU,
 * with dtype, shape, number of the block and its description.
 */
export type ReturnedPart =
  | readonly ['o', string, number]
  | readonly ['a', string, string, readonly number[], number]
  | readonly ['i', string, number, string]
  | readonly ['g', string, string, readonly number[], number, string];

export type FromPython =
  | { t: 'hello'; pid: number }
  | { t: 'ready'; gpu: { probe?: string; why?: string } }
  | { t: 'failed'; error: string }
  | { t: 'alloc'; slot: number; id: number; name: string; dtype: string; shape: number[] }
  | { t: 'progress'; slot: number; done: number; step?: number; text?: string; bytes?: string }
  | { t: 'done'; slot: number; meta: Meta; parts: ReturnedPart[]; copied: number }
  | { t: 'lost'; slot: number }
  | { t: 'gpu'; counts: readonly [number, number, string | null] }
  | { t: 'error'; slot: number; error: string; retryable: boolean; late: boolean };

/** @throws RdmaError RDMA_ERR_PROTOCOL */
export function readRecord(text: string): FromPython {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw broken('what is no record', cause);
  }
  const record = Object(value) as Record<string, unknown>;
  const fields = FIELDS[String(record.t)];
  if (fields === undefined) throw broken(`a record of kind ${String(record.t).slice(0, 20)}`);
  for (const [name, type] of fields) {
    const found: unknown = record[name];
    const isRight = type === 'list' ? Array.isArray(found) : found !== null && typeof found === type;
    if (!isRight) throw broken(`a record ${String(record.t)} with a wrong ${name}`);
  }
  return record as unknown as FromPython;
}

const FIELDS: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  hello: [['pid', 'number']],
  ready: [['gpu', 'object']],
  failed: [['error', 'string']],
  alloc: [
    ['slot', 'number'],
    ['id', 'number'],
    ['name', 'string'],
    ['dtype', 'string'],
    ['shape', 'list'],
  ],
  progress: [
    ['slot', 'number'],
    ['done', 'number'],
  ],
  done: [
    ['slot', 'number'],
    ['meta', 'object'],
    ['parts', 'list'],
    ['copied', 'number'],
  ],
  lost: [['slot', 'number']],
  gpu: [['counts', 'list']],
  error: [
    ['slot', 'number'],
    ['error', 'string'],
    ['retryable', 'boolean'],
    ['late', 'boolean'],
  ],
};

function broken(what: string, cause?: unknown): RdmaError {
  return new RdmaError('RDMA_ERR_PROTOCOL', `the Python process sent ${what}`, { cause });
}
