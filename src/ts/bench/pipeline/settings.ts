// What the pipeline benchmark is asked to do.
//
// Invariant: settings that came through checkPipelineSettings() can be measured as they are.
import { checkInteger, checkObject, checkOneOf, checkString } from '../../core/validate.js';
import { RdmaError } from '../../core/errors.js';
import { type Shape, shapes } from './shape.js';

/**
 * What our stages do. `built`: copy the input into an output that task.output() made; `returned`: copy it into a new
 * array, which the pipeline copies once more; `reference`: hand on the tensor of the input itself.
 */
export const modes = ['built', 'returned', 'reference'] as const;
export type Mode = (typeof modes)[number];

export interface PipelineSettings {
  device: string;
  shapes: readonly Shape[];
  /** Bytes of a request: 64 B to 64 MiB. */
  sizes: readonly number[];
  /** Requests under way at a time, 1 to 64. */
  inFlight: readonly number[];
  modes: readonly Mode[];
  /** Results are views of received memory instead of copies. */
  views: boolean;
  /** How long our processes poll before they sleep, in microseconds; null: as long as the library chooses. */
  pollUs: number | null;
  /** How long each figure is measured, 1 to 600. */
  seconds: number;
  /** Measure requests one by one, each after a rest, instead of a load; 1 to 60 000. */
  restMs: number | null;
  /** Measure a pipeline without requests; 1 to 3600. */
  idleSeconds: number | null;
  /** Measure a chain of streaming stages instead, with results in so many pieces, each 1 to 1024. */
  streamPieces: readonly number[];
  /** Measure how long pipelines of so many stages take to start, 1 to 64. */
  startStages: readonly number[];
}

export const MIN_SIZE_BYTES = 64;
export const MAX_SIZE_BYTES = 64 * 2 ** 20;
export const MAX_IN_FLIGHT = 64;
export const MAX_POLL_US = 10_000;
export const MAX_SECONDS = 600;
export const MAX_REST_MS = 60_000;
export const MAX_IDLE_SECONDS = 3600;
export const MAX_STAGES = 64;
export const MAX_STREAM_PIECES = 1024;
/** Each place of a shape holds about as much as is under way. */
export const MAX_UNDER_WAY_BYTES = 2 ** 30;
const MAX_LIST = 64;
/** In the environment of the processes whose start is measured: how many stages they have. */
export const STAGES_VARIABLE = 'ONEPIECE_BENCH_STAGES';

/** What the command does when it is asked for nothing more. */
export const pipelineDefaults: PipelineSettings = {
  device: 'soft0',
  shapes: ['chain'],
  sizes: [64, 64 * 2 ** 10, 2 ** 20, 16 * 2 ** 20],
  inFlight: [1, 16],
  modes: ['built'],
  views: false,
  pollUs: null,
  seconds: 2,
  restMs: null,
  idleSeconds: null,
  streamPieces: [],
  startStages: [],
};

/**
 * Checks settings, wherever they come from.
 *
 * @returns the same settings
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT, naming the option
 */
export function checkPipelineSettings(value: unknown): PipelineSettings {
  const s = checkObject<PipelineSettings>('settings', value);
  checkString('device', s.device, { minLength: 1, maxLength: 64 });
  for (const shape of checkList('shape', s.shapes, 1)) checkOneOf('shape', shape, shapes);
  for (const size of checkList('size', s.sizes, 1)) checkInteger('size', size, MIN_SIZE_BYTES, MAX_SIZE_BYTES);
  for (const count of checkList('in-flight', s.inFlight, 1)) checkInteger('in-flight', count, 1, MAX_IN_FLIGHT);
  for (const mode of checkList('mode', s.modes, 1)) checkOneOf('mode', mode, modes);
  checkOneOf('views', s.views, [true, false]);
  if (s.pollUs !== null) checkInteger('poll-us', s.pollUs, 0, MAX_POLL_US);
  checkInteger('seconds', s.seconds, 1, MAX_SECONDS);
  if (s.restMs !== null) checkInteger('rest-ms', s.restMs, 1, MAX_REST_MS);
  if (s.idleSeconds !== null) checkInteger('idle-seconds', s.idleSeconds, 1, MAX_IDLE_SECONDS);
  for (const count of checkList('stream', s.streamPieces, 0)) checkInteger('stream', count, 1, MAX_STREAM_PIECES);
  if (s.streamPieces.length > 0 && s.shapes.some((shape) => shape !== 'chain')) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'stream: only the shape chain streams');
  }
  for (const stages of checkList('start', s.startStages, 0)) checkInteger('start', stages, 1, MAX_STAGES);
  const largest = Math.max(...s.sizes);
  const most = Math.max(...s.inFlight);
  if (largest * most > MAX_UNDER_WAY_BYTES) {
    const words = `${most} requests of ${largest} bytes in flight are more than ${MAX_UNDER_WAY_BYTES} bytes`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `in-flight: ${words}`);
  }
  return s;
}

function checkList(name: string, value: unknown, min: number): readonly unknown[] {
  if (Array.isArray(value) && value.length >= min && value.length <= MAX_LIST) return value;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name}: give ${min} to ${MAX_LIST} of them`);
}

/** What one measurement does, whoever is measured. */
export type PipelineTask =
  | { do: 'load'; inFlight: number; seconds: number }
  | { do: 'rest'; restMs: number; seconds: number }
  | { do: 'idle'; seconds: number }
  /** One request at a time, whose result comes in so many pieces. */
  | { do: 'stream'; pieces: number; seconds: number };

/** One measurement of one subject. */
export interface PipelinePlan {
  shape: Shape;
  sizeBytes: number;
  task: PipelineTask;
}

const MIN_RESTS = 10;

/** How many requests after a rest fill `seconds`; at least ten, so that there is a median. */
export function restsWithin(seconds: number, restMs: number): number {
  return Math.max(MIN_RESTS, Math.floor((seconds * 1000) / restMs));
}

export function inFlightOf({ task }: PipelinePlan): number {
  return task.do === 'load' ? task.inFlight : 1;
}

/** The slowest that a subject may be before it counts as stuck. */
const SLOWEST_BYTES_PER_MS = 20_000;
/** How often all that is under way passes: the first time, while it is warmed up, while it is measured, at the end. */
const PASSES = 4;

/** What a measurement may take at most, without opening and closing. */
export function limitMs(plan: PipelinePlan): number {
  const { task, sizeBytes } = plan;
  const passMs = (inFlightOf(plan) * sizeBytes) / SLOWEST_BYTES_PER_MS;
  const restingMs = task.do === 'rest' ? restsWithin(task.seconds, task.restMs) * task.restMs : 0;
  return PASSES * passMs + 2 * Math.max(task.seconds * 1000, restingMs);
}
