// The graph of a workflow as data: planners, dashboards and other languages read it without loading any code.
//
// Invariant: a checked spec is a directed graph without cycles in which the request reaches every stage, and it is
// frozen. Stages are numbered by their place in `stages`, each after the stages that it takes its inputs from.
import { RdmaError } from '../core/errors.js';
import { checkInteger, checkObject, checkOneOf, checkString, invalidArgument } from '../core/validate.js';
import { checkPython, type PythonSpec } from './python-spec.js';
import { checkResources, type StageResources } from './resources.js';
import { checkScale, type StageScale, type StageScaleInput } from './scale-spec.js';

/** Name under which the request itself is an input. */
export const REQUEST = 'request';
/** Name under which traces show where results go. */
export const RESULT = 'result';
/** Name of the places where requests enter and results end. */
export const GATEWAY = 'gateway';
/** The most stages of a workflow. */
export const MAX_STAGES = 64;
/** The most instances of a stage. */
export const MAX_INSTANCES = 64;
/** The most pieces of a stream. */
export const MAX_PIECES = 1024;
/** The most bytes of tensors in one message. */
export const MAX_MESSAGE_BYTES = 2 ** 30;

const DEFAULT_MESSAGE_BYTES = 4 * 2 ** 20;
const MAX_CONCURRENCY = 64;
const MAX_ATTEMPTS = 1000;
const MAX_TIMER_MS = 2 ** 31 - 1;
/** The most tasks of a batch. */
export const MAX_BATCH_SIZE = 64;
/** The most tasks that one instance may run at a time, in all its batches: no place has more requests at a time. */
const MAX_CAPACITY = 128;
const MAX_BATCH_WAIT_MS = 60_000;
const NAME = /^[a-z][a-z0-9-]{0,62}$/;
const RESERVED_NAMES: readonly string[] = [REQUEST, RESULT, GATEWAY];

/** How a request is spread over the instances of a stage. */
export type Spread = 'route' | 'shard';
/** How the requests of a stage are spread: `either` leaves it to each request. */
export type StageSpread = Spread | 'either';

/** How tasks of a stage are brought together. */
export interface BatchSpec {
  /** Tasks that run together, at most: 1 to 64. */
  readonly size: number;
  /**
   * How long a task waits for company, at most, in ms: 0 to 60 000, fractions too. 0: a batch takes what is there when
   * it begins. A task never waits so long that its deadline is missed.
   */
  readonly waitMs: number;
}

/** What a stage is expected to cost, until its tasks have been measured. */
export interface StageCost {
  /** Of a task of a request without a class, in ms. */
  readonly computeMs?: number;
  /** Of one unit, in ms, by class of requests. */
  readonly unitMs?: Readonly<Record<string, number>>;
}

/** One stage of a {@link WorkflowSpec}. */
export interface StageSpec {
  readonly name: string;
  /** The stages, or `request`, whose output it takes. */
  readonly after: readonly string[];
  /** How many instances the first plan has. */
  readonly instances: number;
  /**
   * `route`: each request goes to one instance. `shard`: each request goes to all instances, each does its share.
   * `either`: as the request says; like `route` where it says nothing.
   */
  readonly spread: StageSpread;
  /** Tasks, or batches, that one instance runs at a time. */
  readonly concurrency: number;
  /** Missing: its handler takes single tasks. */
  readonly batch?: BatchSpec;
  /** The largest output in bytes of tensors, all pieces of a stream together. */
  readonly maxOutputBytes: number;
  /** The most pieces in which it publishes its output; 0: it is published whole. */
  readonly maxPieces: number;
  /** Of `after`, the stages whose first piece it starts with. */
  readonly streams: readonly string[];
  /** How long a task may take until its signal fires, in ms; not there: as long as it likes. */
  readonly taskTimeoutMs?: number;
  /** How long a handler may go on after its signal has fired until its process is ended, in ms. */
  readonly graceMs: number;
  /** How often a request is tried whose process ends in this stage, or whose error is `retryable`. */
  readonly attempts: number;
  /** What its author expects it to cost; not there: nobody knows before the first tasks. */
  readonly cost?: StageCost;
  /** Its code, when that is in Python. */
  readonly python?: PythonSpec;
  /** What one instance needs of its node; not there: nothing that counts. */
  readonly resources?: StageResources;
  /** How a cluster scales it by its load; not there: its instances are counted by hand. */
  readonly scale?: StageScale;
}

/** A workflow without its code. `JSON.parse(JSON.stringify(spec))` is the same spec. */
export interface WorkflowSpec {
  readonly name: string;
  /** The largest request in bytes of tensors. */
  readonly maxRequestBytes: number;
  readonly stages: readonly StageSpec[];
}

/** What a stage may leave out. */
export type StageSpecInput = Pick<StageSpec, 'name'> &
  Partial<Omit<StageSpec, 'batch' | 'resources' | 'scale'>> & {
    batch?: Partial<BatchSpec> | undefined;
    resources?: Partial<StageResources> | undefined;
    scale?: StageScaleInput | undefined;
  };

/** Tasks of a stage that run together, at most; 1 for a stage that takes single tasks. */
export function batchSizeOf({ batch }: Pick<StageSpec, 'batch'>): number {
  return batch === undefined ? 1 : batch.size;
}

/** Tasks that one instance of a stage may run at a time, in all its batches. */
export function capacityOf(stage: Pick<StageSpec, 'concurrency' | 'batch'>): number {
  return stage.concurrency * batchSizeOf(stage);
}

/** Checks a workflow's name. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkWorkflowName(name: unknown): string {
  return checkString('name', name, { minLength: 1, maxLength: 63, pattern: NAME });
}

/**
 * What to do about a message that is larger than a limit.
 *
 * @param bytes of its tensors
 * @param limitName names the limit, and whose it is
 */
export function sizeRemedy(bytes: number, limitName: string): string {
  if (bytes <= MAX_MESSAGE_BYTES) return `raise ${limitName}`;
  return `send it in several messages, or keep it elsewhere and send where it is: ${MAX_MESSAGE_BYTES} is the most there is`;
}

/** Checks a limit on the bytes of a message; default 4 MiB. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkMessageBytes(name: string, bytes: unknown): number {
  return checkInteger(name, bytes ?? DEFAULT_MESSAGE_BYTES, 1, MAX_MESSAGE_BYTES);
}

/**
 * Checks one stage and fills in its defaults.
 *
 * @param input the stage as its author wrote it
 * @param earlier the stages before it, of which `after` may name some
 * @returns the stage, frozen
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field
 */
export function checkStage(input: StageSpecInput, earlier: readonly StageSpec[]): StageSpec {
  checkObject('stage', input);
  const name = checkString('name', input.name, { minLength: 1, maxLength: 63, pattern: NAME });
  const isKnown = (other: string) => earlier.some((stage) => stage.name === other);
  if (RESERVED_NAMES.includes(name) || isKnown(name)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the name ${name} is taken`, { remedy: 'choose another name' });
  }
  if (earlier.length >= MAX_STAGES) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `a workflow has at most ${MAX_STAGES} stages`);
  }
  if (input.after !== undefined && !Array.isArray(input.after)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `after of stage ${name} must be an array of names`);
  }
  const after = [...new Set<string>(input.after ?? [REQUEST])];
  if (after.length === 0) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} comes after nothing`);
  for (const before of after) {
    // A stage can name only earlier ones, so the graph has no cycles.
    if (before !== REQUEST && !isKnown(before)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} comes after ${before}, which does not exist`, {
        remedy: 'add the stages in the order in which data flows',
      });
    }
  }
  const streams = checkStreams(name, input.streams, after, earlier);
  if (input.batch !== undefined && (streams.length > 0 || (input.maxPieces ?? 0) > 0)) {
    const text = `stage ${name} takes batches: it can neither stream a stage nor publish pieces`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy: 'leave out batch, or streams and maxPieces' });
  }
  checkWhole(name, input, after, earlier);
  const batch = input.batch === undefined ? undefined : checkBatch(input.batch);
  const concurrency = checkInteger('concurrency', input.concurrency ?? 1, 1, MAX_CONCURRENCY);
  if (batch !== undefined && concurrency * batch.size > MAX_CAPACITY) {
    const batches = `${concurrency} batches of ${batch.size}`;
    const text = `stage ${name} would run ${batches} at a time; at most ${MAX_CAPACITY} tasks`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy: 'lower concurrency or batch.size' });
  }
  const spread = checkOneOf('spread', input.spread ?? 'route', ['route', 'shard', 'either'] as const);
  const scale = input.scale === undefined ? undefined : checkScale(name, input.scale, spread);
  const { min = 1, max = MAX_INSTANCES } = scale ?? {};
  return Object.freeze({
    name,
    after: Object.freeze(after),
    instances: checkInteger('instances', input.instances ?? Math.max(1, min), Math.max(1, min), max),
    spread,
    concurrency,
    ...(batch === undefined ? {} : { batch }),
    maxOutputBytes: checkMessageBytes('maxOutputBytes', input.maxOutputBytes),
    maxPieces: checkInteger('maxPieces', input.maxPieces ?? 0, 0, MAX_PIECES),
    streams,
    ...(input.taskTimeoutMs === undefined
      ? {}
      : { taskTimeoutMs: checkInteger('taskTimeoutMs', input.taskTimeoutMs, 1, MAX_TIMER_MS) }),
    graceMs: checkInteger('graceMs', input.graceMs ?? 1000, 0, MAX_TIMER_MS),
    attempts: checkInteger('attempts', input.attempts ?? 3, 1, MAX_ATTEMPTS),
    ...(input.cost === undefined ? {} : { cost: checkCost(name, input.cost) }),
    ...(input.python === undefined ? {} : { python: checkPython(name, input.python) }),
    ...(input.resources === undefined ? {} : { resources: checkResources(`stage ${name}`, input.resources) }),
    ...(scale === undefined ? {} : { scale }),
  });
}

// Tasks of a stage in Python begin when all is there, and their output goes out whole.
function checkWhole(
  name: string,
  input: StageSpecInput,
  after: readonly string[],
  earlier: readonly StageSpec[],
): void {
  if (input.python === undefined) return;
  if ((input.maxPieces ?? 0) > 0 || (input.streams ?? []).length > 0) {
    const text = `stage ${name} is in Python: it can neither stream a stage nor publish pieces`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy: 'leave out streams and maxPieces' });
  }
  const publisher = earlier.find((stage) => after.includes(stage.name) && stage.maxPieces > 0);
  if (publisher === undefined) return;
  const text = `stage ${name} is in Python and comes after ${publisher.name}, which publishes pieces`;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy: `let ${publisher.name} publish its output whole` });
}

// What it starts with the first piece of: stages of `after` that publish pieces.
function checkStreams(
  name: string,
  input: unknown,
  after: readonly string[],
  earlier: readonly StageSpec[],
): readonly string[] {
  if (input !== undefined && !Array.isArray(input)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `streams of stage ${name} must be an array of names`);
  }
  const streams = [...new Set<string>(input ?? [])];
  for (const before of streams) {
    if (!after.includes(before)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} streams ${before}, but does not come after it`, {
        remedy: `name it in \`after\` of stage ${name} as well`,
      });
    }
    if (!earlier.some((stage) => stage.name === before && stage.maxPieces > 0)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} streams ${before}, which publishes no pieces`, {
        remedy: before === REQUEST ? 'a request comes whole' : `give stage ${before} maxPieces`,
      });
    }
  }
  return Object.freeze(streams);
}

function checkBatch(input: unknown): BatchSpec {
  const { size, waitMs = 0 } = checkObject<Partial<BatchSpec>>('batch', input);
  if (typeof waitMs !== 'number' || !(waitMs >= 0 && waitMs <= MAX_BATCH_WAIT_MS)) {
    throw invalidArgument('batch.waitMs', waitMs, `a number from 0 to ${MAX_BATCH_WAIT_MS}`);
  }
  return Object.freeze({ size: checkInteger('batch.size', size, 1, MAX_BATCH_SIZE), waitMs });
}

function checkCost(stage: string, input: unknown): StageCost {
  const { computeMs, unitMs } = checkObject<StageCost>(`cost of stage ${stage}`, input);
  const units =
    unitMs === undefined ? {} : checkObject<Record<string, unknown>>(`cost.unitMs of stage ${stage}`, unitMs);
  const checked: Record<string, number> = {};
  for (const name of Object.keys(units)) checked[name] = checkMs(`cost.unitMs.${name} of stage ${stage}`, units[name]);
  return Object.freeze({
    ...(computeMs === undefined ? {} : { computeMs: checkMs(`cost.computeMs of stage ${stage}`, computeMs) }),
    ...(unitMs === undefined ? {} : { unitMs: Object.freeze(checked) }),
  });
}

function checkMs(name: string, ms: unknown): number {
  if (typeof ms === 'number' && ms >= 0 && ms <= 2 ** 31) return ms;
  throw invalidArgument(name, ms, 'a number of ms from 0 to 2^31');
}

/**
 * Checks a spec that came from elsewhere, a file or another process.
 *
 * @returns the same spec with its defaults, frozen
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming what is wrong
 */
export function checkSpec(input: unknown): WorkflowSpec {
  const spec = checkObject<Partial<WorkflowSpec>>('spec', input);
  const name = checkWorkflowName(spec.name);
  if (!Array.isArray(spec.stages) || spec.stages.length === 0) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `workflow ${name} has no stages`);
  }
  const stages: StageSpec[] = [];
  for (const stage of spec.stages as StageSpecInput[]) stages.push(checkStage(stage, stages));
  return freezeSpec(name, checkMessageBytes('maxRequestBytes', spec.maxRequestBytes), stages);
}

/** A spec of stages that checkStage() has checked. */
export function freezeSpec(name: string, maxRequestBytes: number, stages: readonly StageSpec[]): WorkflowSpec {
  return Object.freeze({ name, maxRequestBytes, stages: Object.freeze([...stages]) });
}
