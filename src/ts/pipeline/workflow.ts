// A workflow: the typed graph of stages that a request goes through.
//
// Invariant: a finished workflow is a directed graph without cycles in which every stage is reached from the request;
// it is the same in every process that imports its module, since it is made of code and constants only.
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkObject, checkOneOf, checkString } from '../core/validate.js';
import type { Parts } from './codec.js';
import type { Tensor } from './tensor.js';

/** Name under which the request itself is an input. */
export const REQUEST = 'request';
/** Name of the place that results are sent to. */
export const RESULT = 'result';

/** JSON metadata. */
export type Meta = Record<string, unknown>;

/** What one stage instance, or the client, has sent. The tensors are views of received memory. */
export interface StageInput {
  readonly stage: string;
  readonly instance: number;
  readonly meta: Meta;
  readonly parts: Readonly<Record<string, Tensor>>;
}

/** What a handler answers. */
export interface StageOutput {
  meta?: Meta;
  parts?: Parts;
}

/** One task of a handler: one request at one stage instance. */
export interface StageTask<Inputs extends string = string> {
  /** Identity of the request. */
  readonly request: string;
  readonly stage: string;
  /** Which instance this is, 0 to instances - 1. */
  readonly instance: number;
  readonly instances: number;
  /** Aborted when the deadline has passed or the stage is closed. */
  readonly signal: AbortSignal;
  /** The input from a stage (or from `'request'`). Its tensors must not be used after the handler has ended. */
  input(stage: Inputs): StageInput;
  /** All inputs from a stage: one, or one from each instance of a sharded stage, in order. */
  inputs(stage: Inputs): readonly StageInput[];
  /** Says how far the task is, 0 to 1. */
  progress(done: number): void;
}

/** The code of a stage. */
export type StageHandler<Inputs extends string = string> = (
  task: StageTask<Inputs>,
) => StageOutput | Promise<StageOutput>;

/** How a stage is made. */
export interface StageOptions<Inputs extends string> {
  /** The stages whose output it takes; default the request itself. */
  after?: readonly Inputs[];
  /** Processes that run it, 1 to 64; default 1. */
  instances?: number;
  /**
   * How requests are spread over the instances. `route`: each request goes to one instance, in turn. `shard`: each
   * request goes to every instance, and each does its share (see StageTask.instance). Default `route`.
   */
  spread?: 'route' | 'shard';
  /** Tasks that one instance runs at a time, 1 to 64; default 1. */
  concurrency?: number;
  /** The largest output in bytes, up to 1 GiB; default 4 MiB. Memory on both sides is made for it. */
  maxOutputBytes?: number;
  handler: StageHandler<Inputs>;
}

/** A stage of a finished workflow. */
export interface Stage {
  readonly name: string;
  readonly after: readonly string[];
  readonly instances: number;
  readonly spread: 'route' | 'shard';
  readonly concurrency: number;
  readonly maxOutputBytes: number;
  readonly handler: StageHandler;
}

/** Options of a workflow. */
export interface WorkflowOptions {
  /** The file that exports the workflow, `__filename` or `fileURLToPath(import.meta.url)`: workers import it. */
  module: string;
  /** The largest request in bytes, up to 1 GiB; default 4 MiB. */
  maxRequestBytes?: number;
}

/** Sizes in bytes; see {@link Workflow.withSizes}. */
export interface WorkflowSizes {
  request: number;
  stages: Record<string, number>;
}

const MAX_MESSAGE_BYTES = 2 ** 30;
const DEFAULT_MESSAGE_BYTES = 4 * 2 ** 20;
const MAX_STAGES = 64;
const NAME = /^[a-z][a-z0-9-]{0,62}$/;

/** A graph of stages; `Names` are the names that a further stage can come after. */
export class Workflow<Names extends string = string> {
  /** Its name, as error messages say it. */
  readonly name: string;
  /** Path of the module that exports it, which worker processes import. */
  readonly module: string;
  /** The largest request that the proxy lets in, in bytes. */
  readonly maxRequestBytes: number;
  private readonly byName = new Map<string, Stage>();

  /** @internal Use {@link workflow}. */
  constructor(name: string, options: WorkflowOptions) {
    this.name = checkString('name', name, { minLength: 1, maxLength: 63, pattern: NAME });
    checkObject('options', options);
    this.module = checkString('module', options.module, { minLength: 1, maxLength: 4096 });
    this.maxRequestBytes = checkInteger(
      'maxRequestBytes',
      options.maxRequestBytes ?? DEFAULT_MESSAGE_BYTES,
      1,
      MAX_MESSAGE_BYTES,
    );
  }

  /**
   * Adds a stage.
   *
   * @param name lower-case letters, digits and dashes; neither `request` nor `result`
   * @returns the same workflow, which now knows the stage
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a name that is taken or unknown, or an option out of range
   */
  stage<Name extends string>(name: Name, options: StageOptions<Names>): Workflow<Names | Name> {
    checkString('name', name, { minLength: 1, maxLength: 63, pattern: NAME });
    // Results go to the place `result/0`, which a stage of that name would take over.
    if (name === REQUEST || name === RESULT || this.byName.has(name)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `a stage ${name} is there already`);
    }
    if (this.byName.size >= MAX_STAGES) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `a workflow has at most ${MAX_STAGES} stages`);
    }
    checkObject('options', options);
    if (options.after !== undefined && !Array.isArray(options.after)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `after of stage ${name} is an array of names`);
    }
    const after = [...new Set<string>(options.after ?? [REQUEST])];
    for (const before of after) {
      // Only what is there already can be named, so there are no cycles.
      if (before !== REQUEST && !this.byName.has(before)) {
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} comes after ${before}, which is not there`);
      }
    }
    if (after.length === 0) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} comes after nothing`);
    this.byName.set(name, {
      name,
      after,
      instances: checkInteger('instances', options.instances ?? 1, 1, 64),
      spread: checkOneOf('spread', options.spread ?? 'route', ['route', 'shard'] as const),
      concurrency: checkInteger('concurrency', options.concurrency ?? 1, 1, 64),
      maxOutputBytes: checkInteger(
        'maxOutputBytes',
        options.maxOutputBytes ?? DEFAULT_MESSAGE_BYTES,
        1,
        MAX_MESSAGE_BYTES,
      ),
      handler: checkFunction('handler', options.handler) as StageHandler,
    });
    return this as unknown as Workflow<Names | Name>;
  }

  /** The largest messages: of the request, and of each stage's output, in bytes. */
  get sizes(): WorkflowSizes {
    const stages = Object.fromEntries(this.stages.map((stage) => [stage.name, stage.maxOutputBytes]));
    return { request: this.maxRequestBytes, stages };
  }

  /**
   * The same workflow for larger or smaller messages: when how large they are is known only at run time.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a stage that is not there or a size out of range
   */
  withSizes(sizes: Partial<WorkflowSizes>): Workflow<Names> {
    const copy = new Workflow<Names>(this.name, {
      module: this.module,
      maxRequestBytes: sizes.request ?? this.maxRequestBytes,
    });
    const wanted = new Map(Object.entries(sizes.stages ?? {}));
    for (const name of wanted.keys()) this.get(name);
    for (const stage of this.stages) {
      const bytes = wanted.get(stage.name) ?? stage.maxOutputBytes;
      checkInteger(`maxOutputBytes of ${stage.name}`, bytes, 1, MAX_MESSAGE_BYTES);
      copy.byName.set(stage.name, { ...stage, maxOutputBytes: bytes });
    }
    return copy;
  }

  /** All stages, each behind those that it comes after. */
  get stages(): readonly Stage[] {
    return [...this.byName.values()];
  }

  /** A stage by its name. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when there is none of that name */
  get(name: string): Stage {
    const stage = this.byName.get(name);
    if (stage === undefined) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `no stage ${name} in ${this.name}`);
    return stage;
  }

  /** The stages that take the output of `name`, or of the request. */
  followers(name: string): readonly Stage[] {
    return this.stages.filter((stage) => stage.after.includes(name));
  }

  /** The stages whose output is the result. */
  get sinks(): readonly Stage[] {
    return this.stages.filter((stage) => this.followers(stage.name).length === 0);
  }
}

/**
 * Begins a workflow.
 *
 * @param name lower-case letters, digits and dashes
 * @returns a workflow without stages; add them with {@link Workflow.stage}, in an order that goes forward
 */
export function workflow(name: string, options: WorkflowOptions): Workflow<typeof REQUEST> {
  return new Workflow(name, options);
}

/** The instances of `stage` that work on the request with this ticket (the proxy numbers requests). */
export function instancesFor(stage: Stage, ticket: number): number[] {
  if (stage.spread === 'shard') return Array.from({ length: stage.instances }, (_, i) => i);
  return [ticket % stage.instances];
}
