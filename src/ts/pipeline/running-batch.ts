// One batch that runs: its handler, and the end of each of its tasks.
//
// Invariant: each task ends once, by the first of its output, its error and the failure of the handler. The batch has
// ended when its handler has returned and all its tasks have ended.
import { RdmaError } from '../core/errors.js';
import type { BatchedTask, BatchHandler, BatchOfTask, BatchOutput } from './batch-task.js';
import type { JoinedInputs } from './join.js';
import type { StageOutput } from './task.js';

/** What a key of tasks is; an object is the key of one task that runs alone. */
export type BatchKeyValue = string | number | object;

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
  /** Calls back when what has arrived meanwhile was taken out of the lanes. */
  soon(call: () => void): void;
  batchedTaskOf(joined: JoinedInputs): BatchedTask;
  /** When the request of a task is due, by the clock of the process in microseconds. */
  deadlineOf(joined: JoinedInputs): number;
  /** True for a task that runs alone. */
  isSuspect(joined: JoinedInputs): boolean;
  /** Whether a task may begin beside so many batches that run. */
  mayBegin(joined: JoinedInputs, running: number): boolean;
  /** A task begins. */
  begin(joined: JoinedInputs, task: BatchedTask): TaskEnd;
  /** All tasks of the batch have begun: runs the callbacks for that now. */
  begun(): void;
  /** A task that has not begun fails. */
  refuse(joined: JoinedInputs, task: BatchedTask, error: unknown): void;
}

/** What a batch asks of the executor that runs it. */
export interface BatchesOfBatch {
  /** Takes up more tasks of the key of a batch. */
  poll(batch: RunningBatch): BatchedTask[];
  /** Tasks that began together have ended: `size` ran then, and the last one took so long, in microseconds. */
  measured(size: number, us: number): void;
  over(batch: RunningBatch): void;
}

/** Tasks that entered a batch together. */
interface Cohort {
  /** How many tasks the batch had then. */
  readonly size: number;
  readonly startUs: number;
  unfinished: number;
}

export class RunningBatch implements BatchOfTask {
  readonly key: BatchKeyValue;
  private readonly executor: BatchesOfBatch;
  private readonly host: BatchHost;
  private readonly given: BatchedTask[] = [];
  private readonly ends = new Map<BatchedTask, TaskEnd>(); // of those that have not ended
  private readonly cohorts = new Map<BatchedTask, Cohort>();
  private readonly promised = new Set<BatchedTask>(); // tasks that have not ended and whose output is a promise
  private returned = false;

  constructor(executor: BatchesOfBatch, host: BatchHost, key: BatchKeyValue) {
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
    const cohort = { size: this.ends.size, startUs: this.host.nowUs(), unfinished: count };
    for (let i = this.given.length - count; i < this.given.length; i++) this.cohorts.set(this.given[i]!, cohort);
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
    this.review();
  }

  private checkOutputs(answer: unknown): readonly BatchOutput[] {
    if (!Array.isArray(answer) || answer.length !== this.given.length) {
      const what = Array.isArray(answer) ? `${answer.length} outputs` : 'no list of outputs';
      const text = `the batch handler of stage ${this.host.stageName} answered ${what} for ${this.given.length} tasks`;
      throw new RdmaError('RDMA_ERR_HANDLER', text, { remedy: 'return an output, or an Error, for each task' });
    }
    return Array.from(answer as BatchOutput[]);
  }

  private noOutput(): RdmaError {
    const text = `the batch handler of stage ${this.host.stageName} answered nothing for this task`;
    return new RdmaError('RDMA_ERR_HANDLER', text, { remedy: 'return an output for it, or end it by task.finish()' });
  }

  private failed(error: unknown): void {
    this.returned = true;
    const reason = error ?? new Error('the batch handler failed without a reason');
    for (const task of [...this.ends.keys()]) this.end(task, undefined, reason);
    this.review();
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
        this.review();
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
    const cohort = this.cohorts.get(task)!;
    this.cohorts.delete(task);
    if (--cohort.unfinished === 0) this.executor.measured(cohort.size, this.host.nowUs() - cohort.startUs);
    end(output, error);
    if (this.host.flaw === 'one-ends-all' && error !== undefined) {
      for (const other of [...this.ends.keys()]) this.end(other, undefined, error);
    }
    return true;
  }

  private review(): void {
    if (this.returned && this.ends.size === 0) this.executor.over(this);
  }

  poll(): BatchedTask[] {
    return this.returned ? [] : this.executor.poll(this);
  }
}
