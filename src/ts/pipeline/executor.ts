// The batches of a stage instance: it brings tasks together, hands them to the handler, and ends each for itself.
//
// Invariant: a task that was added ends once: by its output, by an error, or because it is not wanted any more; and it
// runs in one batch. `concurrency` batches run at a time, of what batcher.ts decides. A batch keeps its place until its
// handler has returned and all its tasks have ended.
import { RdmaError } from '../core/errors.js';
import { BatchTimes, UsualTime } from './batch-times.js';
import { type BatchDecision, type BatchRules, decideBatch, joinCount, type WaitingTask } from './batcher.js';
import type { BatchedTask, BatchHandler, BatchKey, BatchOfTask, BatchOutput } from './batch-task.js';
import type { Joined } from './join.js';
import type { BatchSpec } from './spec.js';
import type { StageOutput } from './task.js';

/** Ends a task that has begun: with its output, or with an error that is not undefined. */
export type TaskEnd = (output: StageOutput | undefined, error: unknown) => void;

/** What batches ask of their stage instance. */
export interface BatchHost {
  readonly stageName: string;
  /** True while tasks may begin. */
  readonly isOpen: boolean;
  readonly flaw: string | undefined;
  nowUs(): number;
  after(ms: number, call: () => void): () => void;
  batchedTaskOf(joined: Joined): BatchedTask;
  /** When the request of a task is due, by the clock of the process in microseconds. */
  deadlineOf(joined: Joined): number;
  /** A task begins. */
  begin(joined: Joined, task: BatchedTask): TaskEnd;
  /** All that has begun was begun: those who want to know are told now. */
  begun(): void;
  /** A task that has not begun fails. */
  refuse(joined: Joined, task: BatchedTask, error: unknown): void;
}

/** How batches are made. */
export interface BatchSettings extends BatchSpec {
  readonly concurrency: number;
  readonly handler: BatchHandler;
  readonly key: BatchKey | undefined;
}

/** Of the batches of a stage instance. */
export interface BatchStatus {
  /** Batches that run now. */
  readonly running: number;
  /** Keys of which tasks wait. */
  readonly keys: number;
  /** Since the start: batches that began, and tasks that joined one, at its beginning or later. */
  readonly started: number;
  readonly tasks: number;
}

type Key = string | number;

interface Waiting extends WaitingTask {
  readonly joined: Joined;
  readonly task: BatchedTask;
}

/** What lies between the time that was decided and the time at which something begins, in microseconds. */
const SLACK_US = 2000;
const MAX_TIMER_MS = 2 ** 31 - 1;

export class BatchExecutor {
  private readonly host: BatchHost;
  private readonly settings: BatchSettings;
  private readonly groups = new Map<Key, Waiting[]>(); // none is empty
  private readonly running = new Set<RunningBatch>();
  private readonly times = new BatchTimes();
  private readonly behind = new UsualTime(); // from an output until nobody needs it any more
  private order = 0;
  private waitingCount = 0;
  private lookDue = false;
  private looking = false;
  private stopTimer: (() => void) | undefined;
  private timerAtUs = 0; // when it ends, while there is one
  private started = 0;
  private tasks = 0;

  constructor(host: BatchHost, settings: BatchSettings) {
    this.host = host;
    this.settings = settings;
  }

  /** A task whose inputs are here. */
  add(joined: Joined): void {
    const { host } = this;
    const task = host.batchedTaskOf(joined);
    let key: Key;
    try {
      key = this.keyOf(task);
    } catch (error) {
      host.refuse(joined, task, error);
      return;
    }
    const waiting = {
      order: this.order++,
      sinceUs: joined.readyAtUs,
      deadlineUs: host.deadlineOf(joined),
      joined,
      task,
    };
    const group = this.groups.get(key);
    if (group === undefined) this.groups.set(key, [waiting]);
    else group.push(waiting);
    this.waitingCount++;
    if (this.lookDue) return;
    // Behind what is being done now: what came together begins together.
    this.lookDue = true;
    queueMicrotask(() => {
      this.lookDue = false;
      this.next();
    });
  }

  private keyOf(task: BatchedTask): Key {
    const { key } = this.settings;
    if (key === undefined || this.host.flaw === 'mixed-keys') return '';
    const answer: unknown = key(task);
    if (typeof answer === 'string' || typeof answer === 'number') return answer;
    throw new RdmaError(
      'RDMA_ERR_HANDLER',
      `batch.key of stage ${this.host.stageName} must answer a string or a number`,
    );
  }

  /** Tasks that wait. */
  get waiting(): number {
    return this.waitingCount;
  }

  /** True when no batch runs. */
  get isIdle(): boolean {
    return this.running.size === 0;
  }

  /** What became of an output was settled so long after it was sent, in microseconds. */
  settled(us: number): void {
    this.behind.add(us);
  }

  private get rules(): BatchRules {
    const { size, waitMs } = this.settings;
    const batchUs = this.times.expectedUs(size) || 0;
    return { size, waitUs: waitMs * 1000, neededUs: batchUs + (this.behind.expectedUs || 0) + SLACK_US };
  }

  /** Begins what is due, as far as there is room. */
  next(): void {
    if (this.looking) return;
    this.looking = true;
    try {
      while (this.host.isOpen && this.waitingCount > 0 && this.running.size < this.settings.concurrency) {
        const keys = [...this.groups.keys()];
        const decision = decideBatch([...this.groups.values()], this.rules, this.host.nowUs());
        if (!this.follow(decision, keys)) return;
      }
    } finally {
      this.looking = false;
    }
  }

  // False when there is nothing to do now.
  private follow(decision: BatchDecision, keys: readonly Key[]): boolean {
    if ('lookAtUs' in decision) {
      this.lookAt(decision.lookAtUs);
      return false;
    }
    const key = keys[decision.group]!;
    // Without those that nobody wants any more it may not be due.
    if (this.dropUnwanted(key)) return true;
    this.start(key, this.take(key, decision.count));
    return true;
  }

  private lookAt(atUs: number): void {
    if (this.stopTimer !== undefined && this.timerAtUs === atUs) return;
    this.stopTimer?.();
    this.stopTimer = undefined;
    if (atUs === Number.POSITIVE_INFINITY) return;
    this.timerAtUs = atUs;
    const ms = Math.min(MAX_TIMER_MS, Math.max(0, (atUs - this.host.nowUs()) / 1000));
    this.stopTimer = this.host.after(ms, () => {
      this.stopTimer = undefined;
      this.next();
    });
  }

  private take(key: Key, count: number): Waiting[] {
    const group = this.groups.get(key)!;
    const taken = group.splice(0, count);
    if (group.length === 0) this.groups.delete(key);
    this.waitingCount -= taken.length;
    return taken;
  }

  // Requests end while they wait. True when there was one.
  private dropUnwanted(key: Key): boolean {
    const group = this.groups.get(key)!;
    const wanted = group.filter(({ joined }) => joined.state === 'ready');
    if (wanted.length === group.length) return false;
    for (const { joined, task } of group)
      if (joined.state !== 'ready') for (const block of task.takeBlocks()) block.release();
    this.waitingCount -= group.length - wanted.length;
    if (wanted.length === 0) this.groups.delete(key);
    else this.groups.set(key, wanted);
    return true;
  }

  private start(key: Key, waiting: readonly Waiting[]): void {
    const batch = new RunningBatch(this, this.host, key);
    // It has its place before anything of it can end.
    this.running.add(batch);
    const tasks = this.enter(batch, waiting);
    if (tasks.length === 0) this.running.delete(batch);
    else {
      this.started++;
      batch.run(this.settings.handler, tasks);
    }
  }

  // Those that are late already end here.
  private enter(batch: RunningBatch, waiting: readonly Waiting[]): BatchedTask[] {
    const tasks: BatchedTask[] = [];
    for (const { joined, task } of waiting) {
      const end = this.host.begin(joined, task);
      const late = task.cancelled;
      if (late !== undefined) end(undefined, late);
      else {
        batch.enter(task, end);
        tasks.push(task);
      }
    }
    batch.entered(tasks.length);
    this.tasks += tasks.length;
    this.host.begun();
    return tasks;
  }

  /** Takes up more tasks of the key of a batch. */
  poll(batch: RunningBatch): BatchedTask[] {
    const { host, groups } = this;
    const free = this.settings.size - (host.flaw === 'overfull-batch' ? 0 : batch.unfinished);
    if (!host.isOpen || free <= 0 || !groups.has(batch.key)) return [];
    for (const key of [...groups.keys()]) this.dropUnwanted(key);
    const own = [...groups.keys()].indexOf(batch.key);
    if (own < 0) return [];
    const count = joinCount([...groups.values()], own, free, this.rules, host.nowUs());
    return count === 0 ? [] : this.enter(batch, this.take(batch.key, count));
  }

  /** Tasks that began together have ended. */
  measured(size: number, us: number): void {
    this.times.add(size, us);
  }

  /** A batch has ended. */
  over(batch: RunningBatch): void {
    this.running.delete(batch);
    this.next();
  }

  status(): BatchStatus {
    return { running: this.running.size, keys: this.groups.size, started: this.started, tasks: this.tasks };
  }

  /** Nothing begins any more. */
  close(): void {
    this.stopTimer?.();
    this.stopTimer = undefined;
  }
}

/** Tasks that entered a batch together. */
interface Intake {
  /** How many tasks the batch had then. */
  readonly size: number;
  readonly startUs: number;
  unfinished: number;
}

class RunningBatch implements BatchOfTask {
  readonly key: Key;
  private readonly executor: BatchExecutor;
  private readonly host: BatchHost;
  private readonly given: BatchedTask[] = [];
  private readonly ends = new Map<BatchedTask, TaskEnd>(); // of those that have not ended
  private readonly intakes = new Map<BatchedTask, Intake>();
  private readonly promised = new Set<BatchedTask>(); // of those that have not ended, such that have a promise
  private returned = false;

  constructor(executor: BatchExecutor, host: BatchHost, key: Key) {
    this.executor = executor;
    this.host = host;
    this.key = key;
  }

  get unfinished(): number {
    return this.ends.size;
  }

  enter(task: BatchedTask, end: TaskEnd): void {
    task.batch = this;
    this.given.push(task);
    this.ends.set(task, end);
  }

  entered(count: number): void {
    const intake = { size: this.ends.size, startUs: this.host.nowUs(), unfinished: count };
    for (let i = this.given.length - count; i < this.given.length; i++) this.intakes.set(this.given[i]!, intake);
  }

  run(handler: BatchHandler, tasks: readonly BatchedTask[]): void {
    let answer: unknown;
    try {
      answer = handler(tasks);
      if (typeof (answer as Promise<unknown> | undefined)?.then === 'function') {
        // What only looks like a promise may answer twice, or throw.
        Promise.resolve(answer).then(
          (outputs) => this.answered(outputs),
          (error: unknown) => this.failed(error),
        );
        return;
      }
    } catch (error) {
      this.failed(error);
      return;
    }
    this.answered(answer);
  }

  private answered(answer: unknown): void {
    let outputs: readonly BatchOutput[] | undefined;
    if (answer !== undefined && answer !== null) {
      try {
        outputs = this.checkOutputs(answer);
      } catch (error) {
        this.failed(error);
        return;
      }
    }
    if (this.host.flaw === 'swapped-outputs' && outputs !== undefined && outputs.length > 1) {
      outputs = [outputs[1], outputs[0], ...outputs.slice(2)];
    }
    this.returned = true;
    this.given.forEach((task, i) => {
      const output = outputs?.[i];
      if (output !== undefined) this.finish(task, output);
      else if (this.ends.has(task) && !this.promised.has(task)) this.end(task, undefined, this.noOutput());
    });
    this.look();
  }

  private checkOutputs(answer: unknown): readonly BatchOutput[] {
    if (!Array.isArray(answer) || answer.length !== this.given.length) {
      const what = Array.isArray(answer) ? `${answer.length} outputs` : 'no list of outputs';
      const words = `the batch handler of stage ${this.host.stageName} answered ${what} for ${this.given.length} tasks`;
      throw new RdmaError('RDMA_ERR_HANDLER', words, { remedy: 'return an output, or an Error, for each task' });
    }
    return Array.from(answer as BatchOutput[]);
  }

  private noOutput(): RdmaError {
    const words = `the batch handler of stage ${this.host.stageName} answered nothing for this task`;
    return new RdmaError('RDMA_ERR_HANDLER', words, { remedy: 'return an output for it, or end it by task.finish()' });
  }

  private failed(error: unknown): void {
    this.returned = true;
    const reason = error ?? new Error('the batch handler failed without a reason');
    for (const task of [...this.ends.keys()]) this.end(task, undefined, reason);
    this.look();
  }

  finish(task: BatchedTask, output: BatchOutput): boolean {
    let isPromise: boolean;
    try {
      isPromise = typeof (output as Promise<unknown> | undefined)?.then === 'function';
    } catch (error) {
      return this.end(task, undefined, error ?? new Error('the output cannot be read'));
    }
    const isFirst = this.ends.has(task) && !this.promised.has(task);
    if (isPromise) {
      if (isFirst) this.promised.add(task);
      const endLater = (value: StageOutput | undefined, error: unknown) => {
        if (!isFirst) return;
        this.end(task, value, error);
        this.look();
      };
      // Also when it is dropped: nobody else hears of a rejection.
      Promise.resolve(output as Promise<StageOutput>).then(
        (value) => endLater(value, undefined),
        (error: unknown) => endLater(undefined, error ?? new Error('rejected without a reason')),
      );
      return isFirst;
    }
    if (!isFirst) return false;
    if (output instanceof Error) return this.end(task, undefined, output);
    return this.end(task, output as StageOutput, undefined);
  }

  private end(task: BatchedTask, output: StageOutput | undefined, error: unknown): boolean {
    const end = this.ends.get(task);
    if (end === undefined) return false;
    this.ends.delete(task);
    this.promised.delete(task);
    const intake = this.intakes.get(task)!;
    this.intakes.delete(task);
    if (--intake.unfinished === 0) this.executor.measured(intake.size, this.host.nowUs() - intake.startUs);
    end(output, error);
    if (this.host.flaw === 'one-ends-all' && error !== undefined) {
      for (const other of [...this.ends.keys()]) this.end(other, undefined, error);
    }
    return true;
  }

  private look(): void {
    if (this.returned && this.ends.size === 0) this.executor.over(this);
  }

  poll(): BatchedTask[] {
    return this.returned ? [] : this.executor.poll(this);
  }
}
