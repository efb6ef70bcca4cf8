// Tasks that run together, as their handler sees them, and the type of such a handler.
//
// Invariant: each task of a batch ends on its own: with its own output, its own error, or because nobody wants it any
// more. The end of one says nothing about the others.
import type { BatchSpec } from './spec.js';
import { type StageOutput, type StageTask, Task } from './task.js';

/** One task of a batch. */
export interface BatchTask<Inputs extends string = string> extends StageTask<Inputs> {
  /**
   * Ends this task now, while the others go on: its output leaves at once, and its inputs must not be used any more.
   *
   * @param output what a handler of single tasks would answer; an Error, or a promise that is rejected, fails this
   *   request alone
   * @returns false when the task had its output already: this one is dropped
   */
  finish(output: StageOutput | Error | Promise<StageOutput>): boolean;
  /**
   * Takes up new tasks of the same key, as many as have become free, up to the size of a batch: to be called at each
   * step of a computation that goes on for long. End tasks that are through by {@link BatchTask.finish}. Tasks come in
   * while the event loop turns: a handler that never awaits anything meets those only that were there before.
   *
   * @returns the new tasks; none when there are none, when a batch of another key is due, or when the batch has ended
   */
  poll(): BatchTask<Inputs>[];
}

/** What a handler of batches answers for each task. */
export type BatchOutput = StageOutput | Error | Promise<StageOutput> | undefined;

/**
 * The code of a stage that takes several tasks at a time.
 *
 * It answers with a list of one output for each task that it was given, those of {@link BatchTask.poll} behind the
 * others; an Error or a rejected promise in it fails that request alone, undefined is the output of one that was ended
 * by {@link BatchTask.finish}. Or with nothing, when all were. What it throws fails all that have not ended.
 */
export type BatchHandler<Inputs extends string = string> = (
  tasks: readonly BatchTask<Inputs>[],
) => readonly BatchOutput[] | undefined | Promise<readonly BatchOutput[] | undefined>;

/**
 * Says which tasks may run together: those with the same answer. It must be quick, and may throw to fail its request.
 */
export type BatchKey<Inputs extends string = string> = (
  task: Pick<StageTask<Inputs>, 'request' | 'stage' | 'instance' | 'instances' | 'seed' | 'input' | 'inputs'>,
) => string | number;

/** How tasks are brought together. */
export interface BatchOptions<Inputs extends string = string> extends Partial<BatchSpec> {
  /** Only tasks of the same key run together; default all. */
  key?: BatchKey<Inputs>;
}

/** What a task asks of the batch that it runs in. */
export interface BatchOfTask {
  finish(task: BatchedTask, output: BatchOutput): boolean;
  poll(): BatchedTask[];
}

export class BatchedTask extends Task implements BatchTask {
  /** @internal The batch that it runs in; undefined: it waits. */
  batch: BatchOfTask | undefined;

  // Functions that know their task, as those of Task.
  get finish(): BatchTask['finish'] {
    return (output) => this.batch?.finish(this, output) ?? false;
  }

  get poll(): () => BatchedTask[] {
    return () => this.batch?.poll() ?? [];
  }
}
