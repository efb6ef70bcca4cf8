// The reported state of a place: whether its process works, and how often and why it was replaced.
//
// Invariant: these states and counters are all that others see of the supervision of a place; a reason begins with the
// name of its counter.
import type { RdmaError } from '../core/errors.js';

/** An instance that ended and is replaced. */
export interface Restart {
  stage: string;
  instance: number;
  /**
   * How it ended. It begins with `hang:`, `task-timeout:` or `cancel:` when it was ended from outside, as it was
   * stopped, as a task took too long, or as one went on after its request had ended; and with `poison:` when it ended
   * by itself and a request failed for that.
   */
  reason: string;
  /** Wall clock, in ms since 1970. */
  at: number;
  /** After how long the next process is started, in ms: 0 the first time, then more each time. */
  delayMs: number;
  /** The requests that failed with it, by name. */
  failed: readonly string[];
}

/** How often the process of a place was replaced, since the start. */
export interface RestartCounts {
  restarts: number;
  /** Of those, the ones that were stopped for longer than `heartbeatMs`. */
  hangs: number;
  /** That had a task which went on after `taskTimeoutMs` and `graceMs`. */
  taskTimeouts: number;
  /** That had a task which went on for `graceMs` after its request had ended. */
  cancels: number;
  /** That ended by themselves for the last time that a request had. */
  poisons: number;
}

/** Whether the process of a place works. */
export type PlaceState = 'ready' | 'starting' | 'stopped' | 'broken';

/** Answered by LocalPipeline.status(), by place. */
export interface SupervisionStatus extends Readonly<RestartCounts> {
  /**
   * `starting`: a process is being started, or will be; `stopped`: there is one, and it is stopped; `broken`: processes
   * ended too often or never became ready, and another one is tried later and later.
   */
  readonly state: PlaceState;
  /** Of `broken`: why. */
  readonly reason: RdmaError | undefined;
  /** From the start of its last process that became ready until it was, in ms; undefined: none has been. */
  readonly startMs: number | undefined;
}
