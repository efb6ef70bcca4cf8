// The blame for the death of a process: which request gets it, and what happens to that request.
//
// Invariant: a request fails for a death only if its task ran alone then, or took too long; so no request fails because
// of a neighbour. Every task that ran counts one try, and is a suspect: it runs alone from now on, and the next death
// shows whether it is guilty. A request that has ended at its gateway does not run again, whoever sends it.
import { RdmaError } from '../core/errors.js';
import { type RequestAttempt, requestName, type RunningTask } from '../pipeline/index.js';
import type { Verdict } from './place-watch.js';

/** So many requests that have ended are remembered, the newest: places before a new process may send them again. */
const MAX_BARRED = 1024;

/** What is asked of the gateway. */
export interface BlameHost {
  /** Whether this attempt is under way. */
  isUnderWay(request: RequestAttempt): boolean;
  /** Counts one more try of a request that is under way. @returns how many there are with it */
  countTry(request: RequestAttempt): number;
  /** Ends the request. */
  failRequest(request: RequestAttempt, reason: RdmaError): void;
}

/** The end of a process. */
export interface Death {
  readonly stage: string;
  /** Tries that a request has in this stage. */
  readonly attempts: number;
  /** What ran then. */
  readonly tasks: readonly RunningTask[];
  /** Why it was ended from here; undefined: it ended by itself, or somebody else ended it. */
  readonly verdict: Verdict | undefined;
  /** How it ended, in words. */
  readonly reason: string;
}

/** What a death was. */
export interface Finding {
  /** Names of the requests that failed with it. */
  readonly failed: readonly string[];
  /** Tasks ran that may have caused it, so it says nothing of the place. */
  readonly isExcused: boolean;
}

/** Of one pipeline. */
export class Blame {
  private readonly host: BlameHost;
  private ended: RequestAttempt[] = [];
  private suspected: RequestAttempt[] = [];

  constructor(host: BlameHost) {
    this.host = host;
  }

  /** Requests that no new process runs. */
  get barred(): readonly RequestAttempt[] {
    return this.ended;
  }

  /** Requests that run alone, wherever they run. */
  get suspects(): readonly RequestAttempt[] {
    this.suspected = this.suspected.filter((request) => this.host.isUnderWay(request));
    return this.suspected;
  }

  /** A process has ended. Called before the next one in its place starts. */
  died(death: Death): Finding {
    const { tasks, verdict } = death;
    const failed: string[] = [];
    for (const task of tasks) {
      if (!this.host.isUnderWay(task)) {
        this.bar(task);
        continue;
      }
      const reason = this.reasonFor(task, death);
      if (reason === undefined) continue;
      this.host.failRequest(task, reason);
      this.bar(task);
      failed.push(requestName(task.gateway, task.gatewayRun, task.ticket));
    }
    return { failed, isExcused: tasks.length > 0 && verdict?.kind !== 'hang' };
  }

  // Why the request of a task fails; undefined: it runs again.
  private reasonFor(task: RunningTask, { stage, attempts, tasks, verdict, reason }: Death): RdmaError | undefined {
    if (verdict !== undefined) {
      // The others that ran have nothing to do with it.
      const isGuilty = verdict.kind === 'task-timeout' && verdict.task !== undefined && isSame(verdict.task, task);
      return isGuilty ? failure(stage, `stage ${stage} was ended: ${verdict.words}`) : undefined;
    }
    const tries = this.host.countTry(task);
    if (tries >= attempts && tasks.length === 1) {
      const times = `${tries} of ${attempts} times`;
      const text = `stage ${stage} ended while it ran the request, ${times}, the last time by ${reason}`;
      return failure(stage, text);
    }
    if (!this.suspected.some((request) => isSame(request, task))) this.suspected.push(task);
    return undefined;
  }

  private bar(request: RequestAttempt): void {
    this.ended.push(request);
    if (this.ended.length > MAX_BARRED) this.ended.shift();
  }
}

function failure(stage: string, text: string): RdmaError {
  return new RdmaError('RDMA_ERR_STAGE_FAILED', text, { stage, remedy: 'see what the stage printed' });
}

function isSame(a: RequestAttempt, b: RequestAttempt): boolean {
  return a.gateway === b.gateway && a.gatewayRun === b.gatewayRun && a.ticket === b.ticket && a.attempt === b.attempt;
}
