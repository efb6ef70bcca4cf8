// A workflow: the graph of stages that a request goes through, with the code of each stage.
//
// Invariant: it is the same in every process that imports its module, since it is made of code and constants only. Its
// graph is a WorkflowSpec, which is checked stage by stage as it is built.
import { fileURLToPath } from 'node:url';
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkObject, checkString } from '../core/validate.js';
import type { BatchHandler, BatchKey, BatchOptions } from './batch-task.js';
import type { PythonSpec } from './python-spec.js';
import type { StageResources } from './resources.js';
import type { StageScaleInput } from './scale-spec.js';
import {
  type BatchSpec,
  checkMessageBytes,
  checkStage,
  checkWorkflowName,
  freezeSpec,
  type REQUEST,
  type StageSpread,
  type StageCost,
  type StageSpec,
  type WorkflowSpec,
} from './spec.js';
import type { StageOutput, StageTask } from './task.js';

/** The code of a stage. */
export type StageHandler<Inputs extends string = string> = (
  task: StageTask<Inputs>,
) => StageOutput | Promise<StageOutput>;

/** The code of a stage: a handler of single tasks, or one of batches. */
export interface StageCode {
  readonly handler?: StageHandler | undefined;
  readonly batchHandler?: BatchHandler | undefined;
  readonly batchKey?: BatchKey | undefined;
}

/** How a stage is made. */
export type StageOptions<Inputs extends string> = StageShapeOptions<Inputs> &
  (SingleTaskOptions<Inputs> | BatchedTaskOptions<Inputs> | PythonStageOptions);

/** Of a stage that takes single tasks. */
export interface SingleTaskOptions<Inputs extends string> {
  handler: StageHandler<Inputs>;
  batch?: undefined;
  batchHandler?: undefined;
}

/** Of a stage that takes several tasks at a time. */
export interface BatchedTaskOptions<Inputs extends string> {
  /** How tasks are brought together: how many at most, how long they wait for company, and which may run together. */
  batch: BatchOptions<Inputs>;
  batchHandler: BatchHandler<Inputs>;
  handler?: undefined;
}

/** Of a stage whose code is in Python. */
export interface PythonStageOptions {
  /** Which code: see docs/python.md. */
  python: PythonSpec;
  /**
   * Given when its `run_batch` is to be called, with several tasks at a time. All tasks run together: there is no key.
   */
  batch?: Partial<BatchSpec>;
  handler?: undefined;
  batchHandler?: undefined;
}

/** Where a stage is in the graph, and how much of it there is. */
export interface StageShapeOptions<Inputs extends string> {
  /** The stages whose output it takes; default the request itself. */
  after?: readonly Inputs[];
  /** Processes that run it, 1 to 64; default 1. */
  instances?: number;
  /**
   * How requests are spread over the instances. `route`: each request goes to one instance, the one with the least work
   * ahead. `shard`: each request goes to every instance, and each does its share (see StageTask.instance). `either`: as
   * each request says (RequestOptions.spread), and like `route` where it says nothing. Default `route`.
   */
  spread?: StageSpread;
  /** Tasks, or batches, that one instance runs at a time, 1 to 64; default 1. */
  concurrency?: number;
  /**
   * The largest output in bytes of tensors, all pieces of a stream together, up to 1 GiB; default 4 MiB. A limit:
   * memory is taken as outputs need it.
   */
  maxOutputBytes?: number;
  /**
   * The most pieces in which it publishes its output by StageTask.stream(), up to 1024; default 0: whole. The more
   * there may be, the fewer requests are in the stages at a time: 1024 pieces of them all together.
   */
  maxPieces?: number;
  /**
   * Of `after`, the stages whose first piece it starts with, to read them by StageTask.pieces(); default none: it
   * starts when the last piece is there. They have `maxPieces`.
   */
  streams?: readonly Inputs[];
  /**
   * How long a task may take, in ms, 1 to 2^31 - 1; default as long as it likes. Then its signal fires
   * (RDMA_ERR_TIMEOUT), after `graceMs` its process is ended and replaced, and the request fails.
   */
  taskTimeoutMs?: number;
  /**
   * How long a handler may go on after its signal has fired, whatever the reason, until its process is ended and
   * replaced, in ms, 0 to 2^31 - 1; default 1000.
   */
  graceMs?: number;
  /**
   * How often a request is tried, 1 to 1000; default 3. A try has failed when the process ended that ran the task, or
   * when the handler threw an error whose `retryable` is true.
   */
  attempts?: number;
  /** What a task is expected to cost, until tasks have been measured: with it the first requests can be judged too. */
  cost?: StageCost;
  /** What one instance needs of its node: GPUs, memory, cores, labels; default nothing that counts. */
  resources?: Partial<StageResources>;
  /**
   * How a cluster scales it by its load; default not at all: as many instances as `instances`, or an operator, says. A
   * pipeline of one host ignores it.
   */
  scale?: StageScaleInput;
}

/** A stage of a workflow: its spec, and its code. */
export interface Stage extends StageSpec, StageCode {}

/** Options of a workflow. */
export interface WorkflowOptions {
  /**
   * The file that exports the workflow, as a path or a file URL, `__filename` or `import.meta.url`: workers import it.
   */
  module: string | URL;
  /** The largest request in bytes of tensors, up to 1 GiB; default 4 MiB. */
  maxRequestBytes?: number;
}

/** Sizes in bytes; see {@link Workflow.withSizes}. */
export interface WorkflowSizes {
  request: number;
  stages: Record<string, number>;
}

/** The path of a module that is given by its path or its URL. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
function checkModule(module: unknown): string {
  // Not instanceof: a URL of another realm is as good.
  const isUrl = typeof module === 'object' && module !== null && 'href' in module;
  const text = checkString('module', isUrl ? module.href : module, { minLength: 1, maxLength: 4096 });
  if (!/^[a-z][a-z\d+.-]*:/i.test(text)) return text;
  try {
    return fileURLToPath(text); // without its query, which loaders add
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `module must be a file, not ${text.slice(0, 100)}`, {
      remedy: 'give the path of the file that exports the workflow, or its file URL (import.meta.url)',
      cause,
    });
  }
}

function checkCode(options: StageOptions<string>): StageCode {
  if ('python' in options && options.python !== undefined) return checkPythonCode(options);
  if (options.batch === undefined && options.batchHandler === undefined) {
    return { handler: checkFunction('handler', options.handler) as StageHandler };
  }
  if (options.handler !== undefined) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'a stage has a handler or a batchHandler, not both');
  }
  const { key } = checkObject<BatchOptions>('batch', options.batch);
  return {
    batchHandler: checkFunction('batchHandler', options.batchHandler) as BatchHandler,
    ...(key === undefined ? {} : { batchKey: checkFunction('batch.key', key) as BatchKey }),
  };
}

function checkPythonCode({ handler, batchHandler, batch }: StageOptions<string>): StageCode {
  if (handler !== undefined || batchHandler !== undefined) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'a stage has a handler or is in Python, not both');
  }
  if (batch !== undefined && 'key' in checkObject('batch', batch)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'a stage in Python has no batch.key', {
      remedy: 'leave it out, and tell the tasks apart in run_batch',
    });
  }
  return {};
}

/** Marks workflows across copies of this package loaded side by side. */
const BRAND = Symbol.for('onepiece-rdma.Workflow');

/** A graph of stages; `Names` are the names that a further stage can come after. */
export class Workflow<Names extends string = string> {
  /** Its name, as error messages say it. */
  readonly name: string;
  /** Path of the module that exports it, which worker processes import. */
  readonly module: string;
  /** The largest request that a gateway takes, in bytes of tensors. */
  readonly maxRequestBytes: number;
  private specs: readonly StageSpec[] = [];
  private readonly codes = new Map<string, StageCode>();

  /** @internal Use {@link workflow}. */
  constructor(name: string, options: WorkflowOptions) {
    this.name = checkWorkflowName(name);
    checkObject('options', options);
    this.module = checkModule(options.module);
    this.maxRequestBytes = checkMessageBytes('maxRequestBytes', options.maxRequestBytes);
    Object.defineProperty(this, BRAND, { value: true });
  }

  /**
   * Adds a stage.
   *
   * @param name lower-case letters, digits and dashes; not `request`, `gateway` or `result`
   * @returns the same workflow, which now knows the stage
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a name that is taken or unknown, or an option out of range
   */
  stage<Name extends string>(name: Name, options: StageOptions<Names>): Workflow<Names | Name> {
    checkObject('options', options);
    const code = checkCode(options as StageOptions<string>);
    this.specs = [...this.specs, checkStage({ ...options, name }, this.specs)];
    this.codes.set(name, code);
    return this as unknown as Workflow<Names | Name>;
  }

  /** The graph as data. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when it has no stages */
  get spec(): WorkflowSpec {
    if (this.specs.length === 0) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `workflow ${this.name} has no stages`);
    }
    return freezeSpec(this.name, this.maxRequestBytes, this.specs);
  }

  /**
   * The handler of a stage that takes single tasks.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when there is no stage of that name, or it takes batches
   */
  handler(name: string): StageHandler {
    const { handler, python } = this.get(name);
    if (python !== undefined) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} is in Python`);
    if (handler === undefined) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${name} takes batches`);
    return handler;
  }

  /** The code of a stage. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when there is none of that name */
  code(name: string): StageCode {
    this.get(name);
    return this.codes.get(name)!;
  }

  /** The largest messages: of the request, and of each stage's output, in bytes of tensors. */
  get sizes(): WorkflowSizes {
    const stages = Object.fromEntries(this.specs.map((stage) => [stage.name, stage.maxOutputBytes]));
    return { request: this.maxRequestBytes, stages };
  }

  /**
   * The same workflow for larger or smaller messages: when how large they are is known only at run time.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a stage that does not exist or a size out of range
   */
  withSizes(sizes: Partial<WorkflowSizes>): Workflow<Names> {
    const copy = new Workflow<Names>(this.name, {
      module: this.module,
      maxRequestBytes: sizes.request ?? this.maxRequestBytes,
    });
    const wanted = new Map(Object.entries(sizes.stages ?? {}));
    for (const name of wanted.keys()) this.get(name);
    copy.specs = this.specs.map((stage) =>
      Object.freeze({
        ...stage,
        maxOutputBytes: checkMessageBytes(
          `maxOutputBytes of ${stage.name}`,
          wanted.get(stage.name) ?? stage.maxOutputBytes,
        ),
      }),
    );
    for (const [name, code] of this.codes) copy.codes.set(name, code);
    return copy;
  }

  /** All stages, each behind those that it comes after. */
  get stages(): readonly Stage[] {
    return this.specs.map((stage) => ({ ...stage, ...this.codes.get(stage.name)! }));
  }

  /** A stage by its name. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when there is none of that name */
  get(name: string): Stage {
    const stage = this.specs.find((each) => each.name === name);
    if (stage === undefined) throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `no stage ${name} in ${this.name}`);
    return { ...stage, ...this.codes.get(name)! };
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

/** Tells whether a value is a workflow, also one made by another loaded copy of this package. */
export function isWorkflow(value: unknown): value is Workflow {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
}

/**
 * Begins a workflow.
 *
 * @param name lower-case letters, digits and dashes
 * @returns a workflow without stages; add them with {@link Workflow.stage}, in the order in which data flows
 */
export function workflow(name: string, options: WorkflowOptions): Workflow<typeof REQUEST> {
  return new Workflow(name, options);
}
