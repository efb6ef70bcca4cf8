// The rule that says when a process is ended from outside: it is stopped, a task of it takes too long, or it goes on
// with an unwanted task.
//
// Invariant: pure: observations and elapsed time are arguments. Only time in which the supervisor itself was awake
// counts: so a supervisor that was stopped or busy ends no process for what it did not see.
import { requestName, type RunningTask } from '../pipeline/index.js';

/** What a process is held to. */
export interface WatchLimits {
  /** How long it may be stopped, in ms. */
  readonly heartbeatMs: number;
  /** How long a task may take until its signal fires, in ms; undefined: as long as it likes. */
  readonly taskTimeoutMs: number | undefined;
  /** How long it may go on after its signal has fired, in ms. */
  readonly graceMs: number;
}

/** Why a process is ended. */
export interface Verdict {
  readonly kind: 'hang' | 'task-timeout' | 'cancel';
  readonly words: string;
  /** The task that it is ended for; undefined: none is to blame. */
  readonly task: RunningTask | undefined;
}

/** One look at a process. */
export interface Sight {
  readonly tasks: readonly RunningTask[];
  readonly isStopped: boolean;
}

interface Seen {
  ageMs: number; // since it was seen first
  unwantedMs: number | undefined; // since its request was seen to have ended
}

/** Of one process. */
export class PlaceWatch {
  private readonly limits: WatchLimits;
  private stoppedMs: number | undefined;
  private seen = new Map<string, Seen>();

  constructor(limits: WatchLimits) {
    this.limits = limits;
  }

  /** It was seen to be stopped, the last time. */
  get isStopped(): boolean {
    return this.stoppedMs !== undefined;
  }

  /**
   * Looks at the process.
   *
   * @param stepMs time that counts since the last look, 0 or more
   * @param isWanted whether the request of a task has not ended
   * @param onUnwanted called once for a task whose request has ended, to notify its process
   * @returns why it is ended; undefined: it goes on
   */
  look(
    stepMs: number,
    sight: Sight,
    isWanted: (task: RunningTask) => boolean,
    onUnwanted: (task: RunningTask) => void,
  ): Verdict | undefined {
    const { heartbeatMs, taskTimeoutMs, graceMs } = this.limits;
    if (!sight.isStopped) this.stoppedMs = undefined;
    else this.stoppedMs = this.stoppedMs === undefined ? 0 : this.stoppedMs + stepMs;
    const before = this.seen;
    this.seen = new Map();
    let verdict: Verdict | undefined;
    for (const task of sight.tasks) {
      const name = nameOf(task);
      const known = before.get(name);
      const ageMs = known === undefined ? 0 : known.ageMs + stepMs;
      let unwantedMs: number | undefined;
      if (!isWanted(task)) {
        unwantedMs = known?.unwantedMs === undefined ? 0 : known.unwantedMs + stepMs;
        if (known?.unwantedMs === undefined) onUnwanted(task);
      }
      this.seen.set(name, { ageMs, unwantedMs });
      const request = requestName(task.gateway, task.gatewayRun, task.ticket);
      if (unwantedMs !== undefined && unwantedMs >= graceMs) {
        const text = `request ${request} has ended, and its task went on for ${graceMs} ms (graceMs)`;
        verdict ??= { kind: 'cancel', words: text, task };
      } else if (taskTimeoutMs !== undefined && ageMs >= taskTimeoutMs + graceMs) {
        const times = `${taskTimeoutMs} ms (taskTimeoutMs), and went on for ${graceMs} ms (graceMs)`;
        const text = `the task of request ${request} took longer than ${times}`;
        verdict ??= { kind: 'task-timeout', words: text, task };
      }
    }
    if (this.stoppedMs !== undefined && this.stoppedMs >= heartbeatMs) {
      return { kind: 'hang', words: `it was stopped for ${heartbeatMs} ms (heartbeatMs)`, task: undefined };
    }
    // A process that is stopped cannot obey.
    return this.stoppedMs === undefined ? verdict : undefined;
  }
}

function nameOf({ gateway, gatewayRun, ticket, attempt, sinceUs }: RunningTask): string {
  return `${gatewayRun}-${gateway}-${ticket}-${attempt}-${sinceUs}`;
}
