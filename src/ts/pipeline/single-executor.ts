// The tasks of a stage instance that run one by one: each waits for its turn, and its handler gets it alone.
//
// Invariant: tasks begin in the order in which they became ready, `concurrency` at a time. Each ends once: by its
// output, by an error, or because nobody wants it any more.
import type { JoinedInputs } from './join.js';
import type { TaskEnd } from './running-batch.js';
import type { StageOutput, Task } from './task.js';
import type { StageHandler } from './workflow.js';

/** What single tasks ask of their stage instance. */
export interface SingleHost {
  /** True while tasks may begin. */
  readonly isOpen: boolean;
  /** Tasks that run. */
  readonly running: number;
  taskOf(joined: JoinedInputs): Task;
  /** Whether a task may begin beside so many that run. */
  mayBegin(joined: JoinedInputs, running: number): boolean;
  /** A task begins. */
  begin(joined: JoinedInputs, task: Task): TaskEnd;
  /** It has begun: what waits for that is done now. */
  begun(): void;
}

export class SingleExecutor {
  private readonly host: SingleHost;
  private readonly handler: StageHandler;
  private readonly concurrency: number;
  private readonly ready: JoinedInputs[] = [];

  constructor(host: SingleHost, handler: StageHandler, concurrency: number) {
    this.host = host;
    this.handler = handler;
    this.concurrency = concurrency;
  }

  /** Tasks that wait. */
  get waiting(): number {
    return this.ready.length;
  }

  /** A task whose inputs are here. */
  add(joined: JoinedInputs): void {
    this.ready.push(joined);
    this.next();
  }

  /** Begins what is due, as far as there is room. */
  next(): void {
    const { host } = this;
    while (host.isOpen && host.running < this.concurrency) {
      const joined = this.ready[0];
      if (joined === undefined) return;
      const isWanted = joined.state === 'ready';
      if (isWanted && !host.mayBegin(joined, host.running)) return;
      this.ready.shift();
      if (isWanted) this.run(joined);
    }
  }

  private run(joined: JoinedInputs): void {
    const { host, handler } = this;
    const task = host.taskOf(joined);
    const ended = host.begin(joined, task);
    host.begun();
    let output: StageOutput | Promise<StageOutput>;
    let isPromise: boolean;
    try {
      const late = task.cancelled;
      if (late !== undefined) throw late;
      output = handler(task);
      isPromise = typeof (output as Promise<StageOutput> | undefined)?.then === 'function';
    } catch (error) {
      ended(undefined, error);
      this.next();
      return;
    }
    if (isPromise) {
      // What only looks like a promise may answer twice, or throw.
      Promise.resolve(output).then(
        (value) => {
          ended(value, undefined);
          this.next();
        },
        (error: unknown) => {
          ended(undefined, error ?? new Error('the handler was rejected without a reason'));
          this.next();
        },
      );
    } else {
      ended(output as StageOutput, undefined);
      this.next();
    }
  }
}
