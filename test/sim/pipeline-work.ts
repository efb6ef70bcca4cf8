// What the handlers of a simulated pipeline do, and whether what they get and what comes out is right.
//
// Invariant: each run of a handler has a number that no other run has, and it flows into everything made of that run.
// So a result that mixes two runs of a stage, two attempts or two requests shows it; and every byte of every tensor
// follows from the metadata beside it.
import type { JoinedInputs } from '../../src/ts/pipeline/join.js';
import {
  ALL,
  type BatchHandler,
  type BatchTask,
  type Parts,
  type PieceEvent,
  type PipelineResult,
  type Plan,
  type StageCode,
  type StageHandler,
  type StageOutput,
  type StagePiece,
  type StageTask,
  type TaskEvent,
  type Tensor,
  tensor,
} from '../../src/ts/pipeline/index.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import { content, hasContent } from '../ring/support.js';
import type { BatchShape, Failing, PipelineShape, RequestShape, StageShape } from './pipeline-shape.js';

/** In the metadata of each message. */
interface WorkMeta {
  /** Number of the submission. */
  id: number;
  /** Follows from the runs below and all that went into it. */
  value: number;
  /** By `stage/instance`: the run that went into it. */
  runs: Record<string, number>;
  /** Seed and length of each part. */
  parts: Record<string, [number, number]>;
  /** How many pieces its run has published; -1: it is one of them. */
  pieces: number;
  fails: Failing | null;
}

/** One run of a handler. */
interface Run {
  id: number;
  stage: number;
  instance: number;
  attempt: number;
  plan: Plan;
  route: Uint16Array;
}

/** A message as the books check it. */
interface Received {
  stage: string;
  instance: number;
  meta: Record<string, unknown>;
  parts: Parts;
  number?: number;
  pieces?: readonly StagePiece[];
}

const MAX_PASSED = 2;
/** Of a preview: some notes have no room for it. */
const PREVIEW_BYTES = 1300;

/** Name of a stage. */
export const stageName = (index: number): string => `s${index}`;

const fold = (a: number, b: number): number => {
  const x = Math.imul(a ^ Math.imul(b, 0x9e3779b1), 0x85ebca6b);
  return (x ^ (x >>> 15)) >>> 0;
};

export class Work {
  /** Tasks that have begun. */
  tasks = 0;
  /** Called when the task of a request at a place has ended there. */
  onDone: ((joined: JoinedInputs, stage: number, instance: number) => void) | undefined;
  /** Called when a handler has ended its process. */
  onEnds: ((process: SimProcess) => void) | undefined;
  private readonly world: SimWorld;
  private readonly shape: PipelineShape;
  private readonly runs = new Map<number, Run>();
  private readonly told = new Set<string>(); // the events that gateways got: type, request and place
  private lastRun = 0;

  constructor(world: SimWorld, shape: PipelineShape) {
    this.world = world;
    this.shape = shape;
  }

  private wrong(words: string): void {
    this.world.broken.push(words);
  }

  /** A request as its caller hands it in. */
  request(id: number, { bytes, fails }: RequestShape) {
    const meta: WorkMeta = { id, value: id, runs: {}, parts: { own: [id, bytes] }, pieces: 0, fails: fails ?? null };
    return { meta: { ...meta }, parts: { own: tensor('u8', [bytes], content(id, bytes)) } };
  }

  // ---- Handlers

  /** The code of an instance that runs in `process`. */
  code(stage: number, instance: number, process: SimProcess): StageCode {
    const handler = this.handler(stage, instance, process);
    const { batch } = this.shape.stages[stage]!;
    if (batch === undefined) return { handler };
    return { batchHandler: this.batchHandler(handler, batch), batchKey: (task) => keyOf(task, batch) };
  }

  private batchHandler(handler: StageHandler, batch: BatchShape): BatchHandler {
    const outputOf = (task: StageTask): StageOutput | Error | Promise<StageOutput> => {
      try {
        return handler(task);
      } catch (error) {
        return error as Error;
      }
    };
    return (tasks) => {
      this.checkBatch(tasks, batch);
      return batch.polls ? this.continuous(tasks, outputOf, batch) : tasks.map(outputOf);
    };
  }

  private continuous(
    tasks: readonly BatchTask[],
    outputOf: (task: StageTask) => StageOutput | Error | Promise<StageOutput>,
    batch: BatchShape,
  ): Promise<undefined> {
    const open = new Set<BatchTask>();
    return new Promise((resolve) => {
      const enter = (more: readonly BatchTask[]) => {
        for (const task of more) open.add(task);
        this.checkBatch([...open], batch);
        for (const task of more) void run(task);
      };
      const run = async (task: BatchTask) => {
        const output = await Promise.resolve(outputOf(task)).catch((error: Error) => error);
        if (!task.finish(output)) this.wrong(`a task of a batch of ${task.stage} had its end already`);
        open.delete(task);
        enter(task.poll());
        if (open.size === 0) resolve(undefined);
      };
      enter(tasks);
    });
  }

  private checkBatch(tasks: readonly BatchTask[], batch: BatchShape): void {
    if (tasks.length > batch.size) this.wrong(`a batch of ${tasks[0]!.stage} has ${tasks.length} tasks`);
    const keys = new Set(tasks.map((task) => keyOf(task, batch)));
    if (keys.size > 1) this.wrong(`a batch of ${tasks[0]!.stage} has the keys ${[...keys].join(' and ')}`);
  }

  /** Checks an event that a gateway got: previews come whole, and a task is done after it has begun. */
  checkEvent({ type, request, stage, instance, step, preview }: TaskEvent): void {
    const place = `${request} at ${stage}/${instance}`;
    this.told.add(`${type} ${place}`);
    if (type === 'done' && !this.told.has(`task ${place}`)) this.wrong(`${place} is done and has not begun`);
    if (type !== 'progress' || preview === undefined) return;
    if (preview.length !== PREVIEW_BYTES || !hasContent(preview as Uint8Array, step!)) {
      this.wrong(`a preview of ${stage} has other bytes than were sent`);
    }
  }

  /** The handler of an instance that runs in `process`. */
  handler(stage: number, instance: number, process: SimProcess): StageHandler {
    const shape = this.shape.stages[stage]!;
    return (task) => {
      const number = ++this.lastRun;
      this.tasks++;
      const { joined } = task as unknown as { joined: JoinedInputs };
      if ((shape.pieces ?? 0) > 0 || (shape.streams ?? []).length > 0) {
        return this.stream(task, shape, joined, { number, stage, instance }, process);
      }
      const inputs = this.inputsOf(task, shape, joined);
      const id = (inputs[0]!.meta as unknown as WorkMeta).id;
      this.runs.set(number, { id, stage, instance, attempt: joined.attempt, plan: joined.plan, route: joined.route });
      const runs = this.merge(`the task of request ${id} at ${task.stage}/${instance}`, inputs);
      for (const run of Object.values(runs)) this.checkRun(run, id, joined);
      runs[`${stage}/${instance}`] = number;
      const end = (): StageOutput | Promise<StageOutput> => {
        const { fails } = inputs[0]!.meta as unknown as WorkMeta;
        const isFailing = fails?.stage === stage && (fails.always || number % 2 === 1);
        if (isFailing && fails.how === 'ends') {
          if (process.state === 'running') {
            process.crash();
            this.onEnds?.(process);
          }
          return new Promise(() => {});
        }
        if (process.state === 'running') this.onDone?.(joined, stage, instance);
        if (isFailing) throw Object.assign(new Error('it was asked to fail'), { retryable: fails.how === 'retryable' });
        // They stay as they were until it ends.
        if (joined.state === 'running') for (const input of inputs) this.checkParts(`an input of ${task.stage}`, input);
        return this.output(task, shape, number, id, runs, inputs, fails);
      };
      if (shape.busyMs === undefined) return end();
      const busyMs = this.world.choices.delay(0.01, shape.busyMs);
      return this.busy(task, process, shape, busyMs, number).then(end);
    };
  }

  // A handler that publishes pieces, reads some, or both: as it reads them it publishes its own.
  private async stream(
    task: StageTask,
    shape: StageShape,
    joined: JoinedInputs,
    { number, stage, instance }: { number: number; stage: number; instance: number },
    process: SimProcess,
  ): Promise<StageOutput> {
    const streamed = shape.streams ?? [];
    const what = `the task at ${task.stage}/${task.instance}`;
    const whole = this.inputsOf(task, { ...shape, after: shape.after.filter((i) => !streamed.includes(i)) }, joined);
    // All that it was given, in the order in which it came.
    const given: Received[] = whole.flatMap(withPieces);
    const runs = () => ({ ...(given.length === 0 ? {} : this.merge(what, given)), [`${stage}/${instance}`]: number });
    const stream = joined.streams?.[0];
    // Not what cannot be read yet.
    const first = stream !== undefined && stream.readable > 0 ? stream.piece(0) : joined.known(0)!;
    const { id, fails } = first.meta as unknown as WorkMeta;
    this.runs.set(number, { id, stage, instance, attempt: joined.attempt, plan: joined.plan, route: joined.route });
    const wanted = (shape.pieces ?? 0) === 0 ? 0 : number % (shape.pieces! + 1);
    let written = 0;
    const publish = async (from: Received | undefined): Promise<void> => {
      if (written >= wanted) return;
      const index = written++;
      const { parts, said } = this.partsOf(task, shape, number, index, from);
      const meta: WorkMeta = { id, value: 0, runs: runs(), parts: said, pieces: -1, fails };
      await task.stream().write(parts, { ...meta });
    };
    const read = async (before: number): Promise<void> => {
      for await (const piece of task.pieces(stageName(before))) {
        this.checkPiece(what, piece);
        given.push(piece);
        await publish(piece);
        if (shape.busyMs !== undefined) await this.busy(task, process, shape, this.world.choices.delay(0, 0.1), number);
      }
    };
    await Promise.all(streamed.map(read));
    while (written < wanted) {
      await publish(undefined);
      if (shape.busyMs !== undefined) await this.busy(task, process, shape, this.world.choices.delay(0, 0.1), number);
    }
    // What closes the streams that it has read to their ends.
    const inputs = this.inputsOf(task, shape, joined);
    for (const input of inputs) {
      const seen = given.filter(({ stage, instance, number = -1 }) => {
        return number >= 0 && stage === input.stage && instance === input.instance;
      });
      const { pieces } = input.meta as unknown as WorkMeta;
      const inOrder = seen.every((piece, i) => piece.number === i);
      if (seen.length !== pieces || !inOrder) {
        this.wrong(`${what} has read ${seen.map((piece) => piece.number).join()} of ${pieces} pieces`);
      }
    }
    const all = this.merge(what, [...given, ...inputs]);
    for (const run of Object.values(all)) this.checkRun(run, id, joined);
    all[`${stage}/${instance}`] = number;
    if (shape.busyMs !== undefined) {
      await this.busy(task, process, shape, this.world.choices.delay(0.01, shape.busyMs), number);
    }
    if (process.state === 'running') this.onDone?.(joined, stage, instance);
    if (fails?.stage === stage && (fails.always || number % 2 === 1)) {
      throw Object.assign(new Error('it was asked to fail'), { retryable: fails.how === 'retryable' });
    }
    // They stay as they were until it ends.
    if (joined.state === 'running') for (const each of given) this.checkParts(`an input of ${task.stage}`, each);
    return this.output(task, shape, number, id, all, inputs, fails, wanted);
  }

  private busy(
    task: StageTask,
    process: SimProcess,
    { listens }: StageShape,
    busyMs: number,
    number: number,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancelTimer = process.clock.after(busyMs, resolve);
      task.progress(0.5, { step: number, preview: content(number, PREVIEW_BYTES) });
      if (!listens) return;
      const stop = () => {
        cancelTimer();
        reject(new Error('it was stopped'));
      };
      if (task.signal.aborted) stop();
      else task.signal.addEventListener('abort', stop);
    });
  }

  // The inputs of a task, in the order of its spec: as many as the plan says, and all of one request.
  private inputsOf(task: StageTask, { after }: StageShape, { plan, route }: JoinedInputs): Received[] {
    const inputs: Received[] = [];
    for (const before of after) {
      const from = task.inputs(before < 0 ? 'request' : stageName(before));
      const isRouted = before >= 0 && route[before] !== ALL;
      const expected = before < 0 || isRouted ? 1 : plan.instances[before]!.length;
      if (from.length !== expected) this.wrong(`${task.stage} got ${from.length} of ${expected} inputs`);
      if (isRouted && from[0]!.instance !== route[before]) this.wrong(`${task.stage} got an input from off the route`);
      inputs.push(...from);
    }
    for (const input of inputs) {
      this.checkParts(`an input of ${task.stage}`, input);
      this.checkPieces(`an input of ${task.stage}`, input);
    }
    return inputs;
  }

  // All pieces of a stream that is closed.
  private checkPieces(what: string, { stage, instance, meta, pieces = [] }: Received): void {
    const { pieces: expected } = meta as unknown as WorkMeta;
    if (pieces.length !== expected)
      this.wrong(`${what} from ${stage}/${instance} has ${pieces.length} of ${expected} pieces`);
    pieces.forEach((piece, i) => {
      if (piece.number !== i) this.wrong(`${what} from ${stage}/${instance} has its pieces out of order`);
      if (this.checkPiece(what, piece) !== this.runOf(`${stage}/${instance}`, meta)) {
        this.wrong(`${what} mixes two runs of ${stage}/${instance}`);
      }
    });
  }

  /** Checks a piece; answers the run that has published it. */
  checkPiece(what: string, piece: Received | (PieceEvent & { type: 'piece' })): number {
    this.checkParts(what, piece);
    return this.runOf(`${piece.stage}/${piece.instance}`, piece.meta);
  }

  /** The run of a place (`s1/0`) that a message comes from. */
  runOf(place: string, meta: Record<string, unknown>): number {
    return (meta as unknown as WorkMeta).runs[place.slice(1)] ?? -1;
  }

  private checkParts(what: string, { stage, instance, meta, parts }: Received): void {
    const { parts: expected } = meta as unknown as WorkMeta;
    const names = Object.keys(expected);
    if (Object.keys(parts).join() !== names.join()) this.wrong(`${what} from ${stage}/${instance} has other parts`);
    for (const name of names) {
      const [seed, length] = expected[name]!;
      const data = parts[name]?.data as Uint8Array | undefined;
      if (data?.length !== length) {
        this.wrong(`${name} in ${what} from ${stage}/${instance} has ${data?.length} bytes, not ${length}`);
      } else if (!hasContent(data, seed)) {
        this.wrong(`${name} in ${what} from ${stage}/${instance} has other bytes than were sent`);
      }
    }
  }

  // The runs of all inputs together.
  private merge(what: string, inputs: readonly Received[]): Record<string, number> {
    const all: Record<string, number> = {};
    const first = (inputs[0]!.meta as unknown as WorkMeta).id;
    for (const { meta } of inputs) {
      const { id, runs } = meta as unknown as WorkMeta;
      if (id !== first) this.wrong(`${what} brings requests ${first} and ${id} together`);
      for (const [place, run] of Object.entries(runs)) {
        if (all[place] !== undefined && all[place] !== run) this.wrong(`${what} mixes two runs of ${place}`);
        all[place] = run;
      }
    }
    return all;
  }

  private checkRun(number: number, id: number, { attempt, plan }: JoinedInputs): void {
    const run = this.runs.get(number)!;
    if (run.id !== id) this.wrong(`request ${id} has a run of request ${run.id}`);
    if (run.attempt !== attempt) this.wrong(`attempt ${attempt} of request ${id} has a run of attempt ${run.attempt}`);
    if (run.plan.number !== plan.number) this.wrong(`request ${id} has a run under another plan`);
  }

  private output(
    task: StageTask,
    { way, bytes }: StageShape,
    number: number,
    id: number,
    runs: Record<string, number>,
    inputs: readonly Received[],
    fails: WorkMeta['fails'],
    pieces = 0,
  ): StageOutput {
    const { stage, instance } = this.runs.get(number)!;
    const length = bytes[number % bytes.length]!;
    const parts: Record<string, Tensor> = {};
    const said: WorkMeta['parts'] = { own: [number, length] };
    if (way === 'output') {
      const { own } = task.output({ own: { dtype: 'u8', shape: [length] } });
      (own.data as Uint8Array).set(content(number, length));
      parts.own = own;
    } else parts.own = tensor('u8', [length], content(number, length));
    if (way === 'pass-on') {
      const { parts: given } = inputs[0]!.meta as unknown as WorkMeta;
      for (const name of Object.keys(given).slice(0, MAX_PASSED)) {
        parts[`x${name}`] = inputs[0]!.parts[name]!;
        said[`x${name}`] = given[name]!;
      }
    }
    const value = this.valueOf(`${stage}/${instance}`, id, runs);
    const meta: WorkMeta = { id, value, runs, parts: said, pieces, fails };
    return { meta: { ...meta }, parts };
  }

  // Of one piece; `from`: the one that was read just before.
  private partsOf(
    task: StageTask,
    { way, bytes }: StageShape,
    number: number,
    index: number,
    from: Received | undefined,
  ): { parts: Record<string, Tensor>; said: WorkMeta['parts'] } {
    const seed = fold(number, index + 1);
    // All pieces of a stream together have to fit.
    const length = Math.min(1100, bytes[(number + index) % bytes.length]!);
    const said: WorkMeta['parts'] = { own: [seed, length] };
    const parts: Record<string, Tensor> = {};
    if (way === 'output') {
      const { own } = task.output({ own: { dtype: 'u8', shape: [length] } });
      (own.data as Uint8Array).set(content(seed, length));
      parts.own = own;
    } else parts.own = tensor('u8', [length], content(seed, length));
    if (way === 'pass-on' && from !== undefined) {
      parts.xown = from.parts.own!;
      said.xown = (from.meta as unknown as WorkMeta).parts.own!;
    }
    return { parts, said };
  }

  // What a place makes of a request, computed from the runs alone.
  private valueOf(place: string, id: number, runs: Record<string, number>): number {
    const number = runs[place]!;
    const { stage } = this.runs.get(number)!;
    let value = fold(number, stage);
    for (const before of this.shape.stages[stage]!.after) {
      if (before < 0) value = fold(value, id);
      else for (const each of placesIn(runs, before)) value = fold(value, this.valueOf(each, id, runs));
    }
    return value;
  }

  // ---- Results

  /** Checks a result: every output, and that all of it comes from one run of each place. */
  checkResult(id: number, { request, outputs }: PipelineResult): void {
    const what = `the result of request ${id}`;
    const runs = this.merge(what, outputs.map(received).flatMap(withPieces));
    const { plan, route } = this.runs.get(Object.values(runs)[0]!)!;
    const { attempt } = this.runs.get(Object.values(runs)[0]!)!;
    for (const number of Object.values(runs)) this.checkRun(number, id, { attempt, plan } as JoinedInputs);
    let expected = 0;
    this.shape.stages.forEach((_, stage) => {
      const count = route[stage] === ALL ? plan.instances[stage]!.length : 1;
      if (placesIn(runs, stage).length !== count) this.wrong(`${what} has not ${count} runs of ${stageName(stage)}`);
      if (!this.shape.stages.some(({ after }) => after.includes(stage))) expected += count;
    });
    for (const place of this.shape.watched ? Object.keys(runs) : []) {
      for (const type of ['task', 'done']) {
        if (!this.told.has(`${type} ${request} at s${place}`)) this.wrong(`${what} came before ${type} of ${place}`);
      }
    }
    if (outputs.length !== expected) this.wrong(`${what} has ${outputs.length} outputs, not ${expected}`);
    for (const output of outputs) {
      const { stage, instance, meta } = output;
      this.checkParts(what, received(output));
      this.checkPieces(what, received(output));
      const { id: said, value } = meta as unknown as WorkMeta;
      if (said !== id) this.wrong(`${what} is that of request ${said}`);
      const place = `${stage.slice(1)}/${instance}`;
      if (value !== this.valueOf(place, id, runs)) this.wrong(`${what} has a wrong value from ${stage}/${instance}`);
    }
  }

  /** Checks the tensors of a result once more. */
  checkViews(id: number, { outputs }: PipelineResult): void {
    for (const output of outputs) {
      for (const each of withPieces(received(output))) this.checkParts(`the views of request ${id}`, each);
    }
  }
}

// An input and its pieces, which are messages of their own.
const withPieces = (input: Received): Received[] => [input, ...(input.pieces ?? [])];

function received({ stage, instance, meta, parts, pieces = [] }: PipelineResult['outputs'][number]): Received {
  return { stage, instance, meta, parts, pieces: pieces.map((piece) => ({ stage, instance, ...piece })) };
}

// Tasks of one key run together.
function keyOf(task: Pick<StageTask, 'input' | 'inputs' | 'request'>, { keys }: BatchShape): number {
  const { ticket } = (task as unknown as { joined: JoinedInputs }).joined;
  return ticket % keys;
}

// Names of the places of a stage among the runs, in the order of their instances.
function placesIn(runs: Record<string, number>, stage: number): string[] {
  const places = Object.keys(runs).filter((place) => place.startsWith(`${stage}/`));
  return places.sort((a, b) => Number(a.slice(a.indexOf('/') + 1)) - Number(b.slice(b.indexOf('/') + 1)));
}
