// The account of the tasks of a stage instance: how many there were, how many failed, how long they waited and took.
//
// Invariant: counts only grow. Times of tasks that were refused, and so never began, are not in it.
import { Latency, type LatencyStatus } from './latency.js';
import { LeastTime } from './least-time.js';

/** Since the start. */
export interface TaskTimesStatus {
  /** Tasks that have ended, and how many of them failed. */
  readonly tasks: number;
  readonly failures: number;
  /** How long tasks waited with all their inputs here, and how long the handler took. */
  readonly queueTimes: LatencyStatus;
  readonly computeTimes: LatencyStatus;
}

/** Of one task, in the time that a handler usually takes: it is not long because one was disturbed. */
const SAMPLE_WEIGHT = { shorter: 0.5, longer: 0.1 };
/** Beyond that the number makes no difference. */
const LONG_US = 1000;

export class TaskTimes {
  private tasks = 0;
  private failures = 0;
  private readonly queueTimes = new Latency();
  private readonly computeTimes = new Latency();
  private readonly least = new LeastTime();
  private usual = Number.NaN;

  /** How long the handler takes, lately, in microseconds, at most 1000; NaN: it has not run yet. */
  get usualUs(): number {
    return this.usual;
  }

  /** What no task of late was faster than, in microseconds; 0: not known. */
  get leastUs(): number {
    return this.least.us;
  }

  /** A handler has ended. @param computeUs what it took, in microseconds */
  handlerEnded(computeUs: number, hasFailed: boolean): void {
    this.usual = usualUs(this.usual, computeUs);
    if (!hasFailed) this.least.add(computeUs);
  }

  /** A task has ended: its handler, and the streams that it read. Times are in microseconds. */
  taskEnded(queueUs: number, computeUs: number): void {
    this.tasks++;
    this.queueTimes.add(queueUs);
    this.computeTimes.add(computeUs);
  }

  /** A task that has ended has failed. */
  failed(): void {
    this.failures++;
  }

  /** A task has failed before it began. */
  refused(): void {
    this.tasks++;
    this.failures++;
  }

  status(): TaskTimesStatus {
    const { tasks, failures, queueTimes, computeTimes } = this;
    return { tasks, failures, queueTimes: queueTimes.status(), computeTimes: computeTimes.status() };
  }
}

function usualUs(before: number, sampleUs: number): number {
  const sample = Math.min(sampleUs, LONG_US);
  if (Number.isNaN(before)) return sample;
  return before + (sample < before ? SAMPLE_WEIGHT.shorter : SAMPLE_WEIGHT.longer) * (sample - before);
}
