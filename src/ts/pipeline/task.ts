// One task as its handler sees it: a request at a stage instance.
//
// Invariant: task.output() hands out memory that is sent from; a block that the handler does not return is given back
// when the task has ended. An input tensor that is returned unchanged goes on by reference.
import { RdmaError } from '../core/errors.js';
import { checkObject } from '../core/validate.js';
import type { Block, MemoryReference, MemoryPool } from '../ring/index.js';
import type { Parts } from './body.js';
import type { Held } from './custody.js';
import type { Input, StageInput, StagePiece } from './input.js';
import type { JoinedInputs } from './join.js';
import type { Meta } from './meta.js';
import { requestName } from './request-name.js';
import { checkDetails, type ProgressDetails } from './progress-note.js';
import type { Spread } from './spec.js';
import type { StageStream, StreamOut } from './stream-output.js';
import { PieceReader } from './stream-reader.js';
import { type Dtype, elementBytes, elementCount, type Tensor, viewTensor } from './tensor.js';
import { readContextRecords, type TraceContext, writeTraceparent } from './trace-context.js';

/** What a handler answers. */
export interface StageOutput {
  meta?: Meta;
  /**
   * Tensors by name. Those of task.output() and of inputs are not copied; others are copied once, before the instance
   * begins another task: with a concurrency of 1 a handler may use the same array for each task.
   */
  parts?: Parts;
}

/** A tensor to be made by {@link StageTask.output}. */
export interface TensorShape {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** One task of a handler: one request at one stage instance. */
export interface StageTask<Inputs extends string = string> {
  /** Identity of the request. */
  readonly request: string;
  readonly stage: string;
  /** Which of the stage's instances this is, 0 to `instances - 1`, counted in the plan of the request. */
  readonly instance: number;
  /**
   * How many instances the stage has in the plan of the request. In a stage of spread `either` only those that work for
   * this request count: a routed one finds instance 0 of 1.
   */
  readonly instances: number;
  /** Whether this instance does all of the task, `route`, or its share of it, `shard`. */
  readonly spread: Spread;
  /**
   * A number from 0 to 2^32 - 1 that is the same whenever and wherever the request runs again: seed random numbers with
   * it.
   */
  readonly seed: number;
  /**
   * The trace that the request belongs to, to be handed on to other systems; undefined when it has none or is not
   * traced, and where all inputs are streams, until one of them has ended. It has no `tracestate`.
   */
  readonly traceContext: TraceContext | undefined;
  /** Aborted when the deadline has passed, the request has ended, or the stage is closed. */
  readonly signal: AbortSignal;
  /**
   * The input from a stage (or from `'request'`). Its tensors must not be used after the handler has ended.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a stage that is not in `after`; RDMA_ERR_BUSY for one in `streams`
   *   while pieces of it may come
   */
  input(stage: Inputs): StageInput;
  /** All inputs from a stage: one, or one from each instance of a sharded stage, in order. */
  inputs(stage: Inputs): readonly StageInput[];
  /**
   * Makes tensors in the memory that they will be sent from, so that nothing is copied when they are returned as parts.
   * Their contents are undefined at first.
   *
   * @param shapes dtype and shape by name, for example `{ clip: { dtype: 'u8', shape: [16, 480, 832, 3] } }`
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; ENOMEM
   */
  output<Names extends string>(shapes: Record<Names, TensorShape>): Record<Names, Tensor>;
  /**
   * The pieces of a stage, from the first one on, each as soon as it is here: of a sharded stage those of all
   * instances, in order for each instance. What the handler returns goes out when these streams are closed, whether it
   * has read them to their ends or not.
   *
   * @returns to be read with `for await`; it rejects when the task is not wanted any more, for example as the stage
   *   that publishes the pieces begins again: let that end the handler
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a stage that is not in `after`, or has no `maxPieces`
   */
  pieces(stage: Inputs): AsyncIterableIterator<StagePiece, undefined>;
  /**
   * Publishes the output piece by piece; what the handler returns closes the stream, and comes to the stages behind
   * after its last piece.
   *
   * @returns the stream of the task, the same one each time
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when the stage has no `maxPieces`
   */
  stream(): StageStream;
  /**
   * Says how far the task is: to whoever passed `onEvent` or `onProgress`, with an estimate of the time left.
   *
   * @param done 0 to 1
   * @param details a step and a preview beside it
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_MESSAGE_TOO_LARGE for a preview of more than 16 KiB
   */
  progress(done: number, details?: ProgressDetails): void;
}

/** What a task needs of its stage instance. */
export interface TaskHost {
  readonly stageName: string;
  readonly pool: MemoryPool;
  /** Smaller outputs go through the lane: they are made in ordinary memory. */
  readonly inlineBytes: number;
  /** The time, in microseconds. */
  nowUs(): number;
  /** Makes the stream of a task. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
  openStream(joined: JoinedInputs, task: Task): StreamOut;
  progress(joined: JoinedInputs, done: number, details: ProgressDetails | undefined): void;
  spreadOf(joined: JoinedInputs): Spread;
  /** The places that take the output of a task, by name. */
  receiversOf(joined: JoinedInputs): readonly string[];
}

export class Task implements StageTask {
  readonly stage: string;
  readonly instance: number;
  readonly instances: number;
  /** @internal */
  readonly joined: JoinedInputs;
  /** @internal How long its handler waited for pieces, in microseconds. */
  waitedUs = 0;
  /** @internal What it publishes; undefined: nothing so far. */
  published: StreamOut | undefined;
  /** @internal Told once when it is not wanted any more, without the price of `signal`. */
  onCancelled: ((reason: RdmaError) => void) | undefined;
  /** @internal Told when no process runs it for now, and when one does; set where that can be. */
  onAway: ((isAway: boolean) => void) | undefined;
  private readonly host: TaskHost;
  private readers: PieceReader[] | undefined;
  private waiters = 0;
  private waitsSinceUs = 0;
  private hasEnded = false;
  private control: AbortController | undefined;
  private reason: RdmaError | undefined;
  private outputs: Map<object, Block> | undefined;
  private returned: readonly Held[] = NO_BLOCKS;

  constructor(host: TaskHost, joined: JoinedInputs, instance: number, instances: number) {
    this.host = host;
    this.joined = joined;
    this.stage = host.stageName;
    this.instance = instance;
    this.instances = instances;
  }

  // Functions that know their task: handlers may take them out of it. Made when they are asked for.
  get input(): StageTask['input'] {
    return (stage) => this.inputsFrom(stage)[0]!;
  }

  get inputs(): StageTask['inputs'] {
    return (stage) => this.inputsFrom(stage);
  }

  get output(): StageTask['output'] {
    return (shapes) => this.makeOutputs(shapes);
  }

  get pieces(): StageTask['pieces'] {
    return (stage) => this.readPieces(stage);
  }

  get stream(): StageTask['stream'] {
    return () => {
      this.published ??= this.host.openStream(this.joined, this);
      return this.published;
    };
  }

  get progress(): StageTask['progress'] {
    return (done, details) =>
      this.host.progress(this.joined, done, details === undefined ? undefined : checkDetails(details));
  }

  /** @internal The places that take its output, by name. */
  get receivers(): readonly string[] {
    return this.host.receiversOf(this.joined);
  }

  /** @internal Memory that is not the pool's, in which a part of its output lies. */
  keep(held: Held): void {
    this.returned = [...this.returned, held];
  }

  get spread(): Spread {
    return this.host.spreadOf(this.joined);
  }

  get request(): string {
    const { ledger, ticket } = this.joined;
    return requestName(ledger.gateway, ledger.gatewayRun, ticket);
  }

  get seed(): number {
    return seedOf(this.joined.ledger.gatewayRun, this.joined.ticket);
  }

  get traceContext(): TraceContext | undefined {
    for (const input of this.joined.inputs) {
      const span = input === undefined ? undefined : readContextRecords(input.records);
      if (span !== undefined) return { traceparent: writeTraceparent(span) };
    }
    return undefined;
  }

  get signal(): AbortSignal {
    if (this.control === undefined) {
      this.control = new AbortController();
      if (this.reason !== undefined) this.control.abort(this.reason);
    }
    return this.control.signal;
  }

  /** @internal How long its request has left, in ms, 0 when it is late; undefined: it has no deadline. */
  get remainingMs(): number | undefined {
    let deadlineUs = Number.POSITIVE_INFINITY;
    for (const input of this.joined.inputs) deadlineUs = Math.min(deadlineUs, input?.deadlineUs ?? deadlineUs);
    if (deadlineUs === Number.POSITIVE_INFINITY) return undefined;
    return Math.max(0, (deadlineUs - this.host.nowUs()) / 1000);
  }

  /** Why the task is not wanted any more; undefined: it is. */
  get cancelled(): RdmaError | undefined {
    return this.reason;
  }

  cancel(reason: RdmaError): void {
    const isFirst = this.reason === undefined;
    this.reason ??= reason;
    this.control?.abort(this.reason);
    if (isFirst) this.onCancelled?.(this.reason);
    this.wake();
  }

  /** @internal More can be read of its streams, or nothing more will be. */
  wake(): void {
    if (this.readers !== undefined) for (const reader of this.readers) reader.wake();
  }

  /** @internal Its handler has ended: what it has made stays, and what it was given is not its any more. */
  end(): void {
    this.hasEnded = true;
    this.published?.end();
    this.wake();
  }

  /** @internal */
  get readEnd(): RdmaError | undefined {
    if (this.reason !== undefined || !this.hasEnded) return this.reason;
    return new RdmaError('RDMA_ERR_CLOSED', 'the handler that read these pieces has ended');
  }

  /** @internal The time for which it waits is not the time that it takes. */
  waits(isWaiting: boolean): void {
    const nowUs = this.host.nowUs();
    if (isWaiting) {
      if (this.waiters++ === 0) this.waitsSinceUs = nowUs;
    } else if (--this.waiters === 0) this.waitedUs += nowUs - this.waitsSinceUs;
  }

  private readPieces(stage: string): PieceReader {
    this.inputKnown(stage, this.joined.from(stage).length > 0);
    const positions = this.joined.streamsFrom(stage);
    if (positions.length === 0) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${stage} publishes no pieces`, {
        remedy: `give stage ${stage} maxPieces, or read task.input('${stage}')`,
      });
    }
    const reader = new PieceReader(this, positions);
    this.readers = this.readers === undefined ? [reader] : [...this.readers, reader];
    return reader;
  }

  private inputKnown(stage: string, isKnown: boolean): void {
    if (isKnown) return;
    if (this.joined.known(0) === undefined) {
      throw new RdmaError('RDMA_ERR_CLOSED', `this task of stage ${this.stage} has ended: its inputs are gone`);
    }
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `stage ${this.stage} has no input from ${stage}`, {
      remedy: `name it in \`after\` of stage ${this.stage}`,
    });
  }

  private inputsFrom(stage: string): Input[] {
    const found = this.joined.from(stage);
    this.inputKnown(stage, found.length > 0);
    const { streams } = this.joined;
    if (streams !== undefined && !this.joined.streamsFrom(stage).every((at) => streams[at]!.isClosed)) {
      throw new RdmaError('RDMA_ERR_BUSY', `stage ${stage} has not closed its stream yet`, {
        remedy: `read task.pieces('${stage}') to its end first`,
      });
    }
    return found as Input[];
  }

  private makeOutputs<Names extends string>(shapes: Record<Names, TensorShape>): Record<Names, Tensor> {
    checkObject('shapes', shapes);
    const made: Record<string, Tensor> = {};
    const names = Object.keys(shapes);
    for (let i = 0; i < names.length; i++) {
      const name = names[i]!;
      const wanted: unknown = shapes[name as Names];
      if (typeof wanted !== 'object' || wanted === null) checkObject(`the shape of output ${name}`, wanted);
      const { dtype, shape } = wanted as TensorShape;
      const bytes = elementBytes(dtype) * elementCount(Array.isArray(shape) ? shape : [Number.NaN]);
      if (!Number.isSafeInteger(bytes)) {
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `the shape of output ${name} must be a list of up to 8 sizes`);
      }
      // Without room in the pool it is made in ordinary memory, and copied when there is room.
      const block = bytes > this.host.inlineBytes ? this.host.pool.allocate(bytes) : undefined;
      made[name] =
        block === undefined
          ? viewTensor(dtype, shape, new ArrayBuffer(bytes), 0)
          : viewTensor(dtype, shape, block.bytes.buffer, block.bytes.byteOffset);
      if (block !== undefined) {
        this.outputs ??= new Map();
        this.outputs.set(made[name].data, block);
      }
    }
    return made as Record<Names, Tensor>;
  }

  /** Where the bytes of a returned tensor lie in registered memory already; undefined: nowhere. */
  referenceOf(tensor: Tensor): MemoryReference | undefined {
    if (tensor.data.byteLength <= this.host.inlineBytes) return undefined;
    const own = this.outputs?.get(tensor.data);
    if (own !== undefined) {
      if (!this.returned.includes(own)) this.returned = [...this.returned, own];
      return own;
    }
    for (const input of this.joined.inputs) {
      const handedOn = input?.handOn(tensor.data, this.host.pool);
      if (handedOn !== undefined) return handedOn;
    }
    if (this.readers === undefined) return undefined;
    for (const stream of this.joined.streams!) {
      // The last ones first: what is handed on came just now.
      for (let i = (stream?.readable ?? 0) - 1; i >= 0; i--) {
        const handedOn = stream!.piece(i).handOn(tensor.data, this.host.pool);
        if (handedOn !== undefined) return handedOn;
      }
    }
    return undefined;
  }

  /** @internal The blocks that a piece refers to, each with one more reference, which goes over to the caller. */
  takeReturned(): readonly Held[] {
    const { returned } = this;
    this.returned = NO_BLOCKS;
    for (let i = 0; i < returned.length; i++) returned[i]!.retain();
    return returned;
  }

  /** The blocks that were returned as parts: they are the caller's from now on. The others are given back. */
  takeBlocks(): readonly Held[] {
    const { returned } = this;
    this.returned = NO_BLOCKS;
    if (this.outputs === undefined) return returned;
    for (const block of this.outputs.values()) if (!returned.includes(block)) block.release();
    this.outputs = undefined;
    return returned;
  }
}

const NO_BLOCKS: readonly Held[] = [];

/** A number for random numbers, the same in every attempt of a request. */
export function seedOf(gatewayRun: number, ticket: number): number {
  let mixed = Math.imul(gatewayRun ^ Math.imul(ticket >>> 0, 0x9e3779b1), 0x85ebca6b) ^ Math.floor(ticket / 2 ** 32);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
