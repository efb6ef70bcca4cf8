// The tasks of a stage instance under way: from the inputs that are complete to the output that is handed on.
//
// Invariant: a task runs from the call of its handler until the handler has ended and all streams that it reads are
// here. Then it ends once: its output or its failure is handed on, or it is dropped as nobody wants it any more.
import type { RdmaError } from '../core/errors.js';
import { BatchedTask } from './batch-task.js';
import { Flag } from './envelope.js';
import { BatchExecutor } from './executor.js';
import { failureOf } from './handler-failure.js';
import type { JoinedInputs } from './join.js';
import { Report, type StageFailure } from './notes.js';
import type { Place } from './place.js';
import type { Reporter } from './reporter.js';
import type { BatchHost, TaskEnd } from './running-batch.js';
import { SingleExecutor, type SingleHost } from './single-executor.js';
import type { StageEvent, StageInstanceOptions } from './stage-instance.js';
import type { StageOutputs } from './stage-outputs.js';
import { Suspects } from './suspects.js';
import { type StageOutput, Task } from './task.js';
import type { RequestAttempt } from './task-board.js';
import type { TaskMaker } from './task-maker.js';
import { TaskTimes } from './task-times.js';
import { TaskWatch, type WatchRules } from './task-watch.js';
import { deadlineOf } from './time-left.js';
import type { Outgoing } from './transmitter.js';

export class TaskRunner implements BatchHost, SingleHost {
  readonly stageName: string;
  readonly flaw: string | undefined;
  readonly times = new TaskTimes();
  /** Of a stage that takes batches. */
  readonly batches: BatchExecutor | undefined;
  private readonly executor: BatchExecutor | SingleExecutor;
  private readonly place: Place;
  private readonly reporter: Reporter;
  private readonly outputs: StageOutputs;
  private readonly maker: TaskMaker;
  private readonly clock: StageInstanceOptions['port']['clock'];
  private readonly onEvent: ((event: StageEvent) => void) | undefined;
  private readonly watchRules: WatchRules;
  private readonly suspects = new Suspects();
  private linked = false;
  private count = 0;

  constructor(
    options: StageInstanceOptions,
    place: Place,
    reporter: Reporter,
    outputs: StageOutputs,
    maker: TaskMaker,
  ) {
    const stage = options.graph.spec.stages[options.self.stage]!;
    const { batch, concurrency } = stage;
    this.stageName = stage.name;
    this.flaw = options.flaw;
    this.place = place;
    this.reporter = reporter;
    this.outputs = outputs;
    this.maker = maker;
    this.clock = options.port.clock;
    this.onEvent = options.onEvent;
    this.watchRules = {
      stageName: stage.name,
      taskTimeoutMs: stage.taskTimeoutMs,
      board: options.board,
      mayBeAway: stage.python !== undefined,
      nowUs: () => place.nowUs(),
      after: (ms, call) => this.after(ms, call),
    };
    if (batch === undefined) {
      this.executor = new SingleExecutor(this, options.handler!, concurrency);
    } else {
      const { batchHandler, batchKey: key } = options;
      const batches = new BatchExecutor(this, { ...batch, concurrency, handler: batchHandler!, key });
      this.batches = batches;
      this.executor = batches;
      outputs.onSettled = (us) => batches.settled(us);
    }
  }

  // ---- What the stage instance asks

  /** Tasks that run. */
  get running(): number {
    return this.count;
  }

  /** Tasks that wait for their turn. */
  get waiting(): number {
    return this.executor.waiting;
  }

  /** True when nothing runs. */
  get isIdle(): boolean {
    return this.count === 0 && this.batches?.isIdle !== false;
  }

  /** The place is connected: tasks begin. */
  open(): void {
    this.linked = true;
    this.executor.next();
  }

  /** A task whose inputs are here. */
  add(joined: JoinedInputs): void {
    this.executor.add(joined);
  }

  /** These requests run alone from now on, and no others. */
  setSuspects(requests: readonly RequestAttempt[]): void {
    this.suspects.set(requests);
    this.batches?.regroup();
    this.executor.next();
  }

  /** Nothing begins any more. */
  close(): void {
    this.batches?.close();
  }

  // ---- What the executors ask

  get isOpen(): boolean {
    return this.linked && !this.place.isEnding;
  }

  nowUs(): number {
    return this.place.nowUs();
  }

  after(ms: number, call: () => void): () => void {
    return this.clock.after(ms, call);
  }

  soon(call: () => void): void {
    this.clock.soon(call);
  }

  deadlineOf(joined: JoinedInputs): number {
    return deadlineOf(joined);
  }

  taskOf(joined: JoinedInputs): Task {
    return this.maker.make(Task, joined);
  }

  batchedTaskOf(joined: JoinedInputs): BatchedTask {
    return this.maker.make(BatchedTask, joined);
  }

  isSuspect(joined: JoinedInputs): boolean {
    return this.suspects.has(joined);
  }

  mayBegin(joined: JoinedInputs, running: number): boolean {
    return this.suspects.mayBegin(joined, running);
  }

  begin(joined: JoinedInputs, task: Task): TaskEnd {
    const { onEvent, place } = this;
    joined.state = 'running';
    this.count++;
    if (place.mayAnnounce(this.times.usualUs)) place.announce(this.maker.receiversOf(joined), place.nowUs());
    const startUs = place.nowUs();
    const queueUs = startUs - joined.readyAtUs;
    joined.onCancel = (reason) => task.cancel(reason);
    if (joined.streams !== undefined) joined.onPieces = () => task.wake();
    const watch = new TaskWatch(this.watchRules, joined, task, startUs, this.times.leastUs);
    this.suspects.begins(joined);
    if ((joined.flags & Flag.WATCHED) !== 0) this.reporter.report(joined, Report.STARTED);
    if (onEvent !== undefined) onEvent({ type: 'task', request: task.request });
    return (output, error) => {
      watch.end();
      this.suspects.ended(joined);
      task.end();
      const computeUs = place.nowUs() - startUs - task.waitedUs;
      this.times.handlerEnded(computeUs, error !== undefined);
      const finish = (reason: unknown) => {
        joined.onCancel = undefined;
        joined.onPieces = undefined;
        this.count--;
        this.finish(joined, task, queueUs, computeUs, output, reason);
      };
      if (error !== undefined || joined.isClosed || joined.state === 'over') finish(error);
      else this.whenClosed(joined, finish);
    };
  }

  // The handler has ended before the streams that it reads: nothing goes out before all of them are here, so that
  // nobody works for a request that has its result already. No other task begins meanwhile: its handler might change
  // the tensors.
  private whenClosed(joined: JoinedInputs, finish: (reason: RdmaError | undefined) => void): void {
    const end = (reason: RdmaError | undefined) => {
      finish(reason);
      this.executor.next();
    };
    joined.onCancel = end;
    joined.onPieces = () => {
      if (joined.isClosed) end(undefined);
    };
  }

  // Reports go at once: a handler may keep the process busy for minutes.
  begun(): void {
    this.reporter.sendDue();
  }

  refuse(joined: JoinedInputs, task: Task, error: unknown): void {
    joined.state = 'running';
    this.times.refused();
    for (const block of task.takeBlocks()) block.release();
    this.outputs.fail(joined, failureOf(error));
  }

  private finish(
    joined: JoinedInputs,
    task: Task,
    queueUs: number,
    computeUs: number,
    output: StageOutput | undefined,
    error: unknown,
  ): void {
    const { onEvent, outputs } = this;
    this.times.taskEnded(queueUs, computeUs);
    if (this.place.isEnding || joined.state === 'over') {
      outputs.drop(joined, task);
      return;
    }
    let failure: StageFailure | undefined;
    const stream = task.published;
    // Whatever a handler throws because of the signal, the reason is the signal's.
    if (error !== undefined) failure = failureOf(task.cancelled ?? error);
    let outgoing: Outgoing | undefined;
    if (failure === undefined) {
      try {
        outgoing = outputs.prepare(joined, task, output, queueUs, computeUs);
      } catch (cause) {
        failure = failureOf(cause);
      }
    }
    // Not before it is known which of them the output refers to.
    const blocks = task.takeBlocks();
    if (onEvent !== undefined) {
      onEvent({ type: 'done', request: task.request, queueUs, computeUs, failed: failure !== undefined });
    }
    if (failure !== undefined || outgoing === undefined) {
      for (const block of blocks) block.release();
      this.times.failed();
      outputs.fail(joined, failure ?? { code: 'RDMA_ERR_HANDLER', message: 'no output' }, stream);
      return;
    }
    outputs.send(joined, outgoing, blocks, queueUs, computeUs, stream);
  }
}
