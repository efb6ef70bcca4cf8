// The watch over one task whose handler runs: its deadline, its time limit, and its line on the task board.
//
// Invariant: while a process has the task, its time limit runs and the board names it; both end when the handler has
// ended, or no process has the task for now, and begin again when one does. The deadline counts all the time.
import { RdmaError } from '../core/errors.js';
import type { JoinedInputs } from './join.js';
import type { Task } from './task.js';
import type { TaskBoard } from './task-board.js';
import { deadlineOf } from './time-left.js';

/** How the tasks of a stage instance are watched. */
export interface WatchRules {
  readonly stageName: string;
  /** How long a task may take, in ms; undefined: as long as it likes. */
  readonly taskTimeoutMs: number | undefined;
  readonly board: TaskBoard | undefined;
  /** True for a stage whose process may be away while its task goes on here. */
  readonly mayBeAway: boolean;
  nowUs(): number;
  after(ms: number, call: () => void): () => void;
}

const MAX_TIMER_MS = 2 ** 31 - 1;

export class TaskWatch {
  private readonly rules: WatchRules;
  private readonly joined: JoinedInputs;
  private readonly task: Task;
  private readonly stopDeadline: (() => void) | undefined;
  private stopLimit: (() => void) | undefined;
  private slot = 0;
  private isAway = false;

  /**
   * Begins to watch a task. One that has no time left is cancelled here.
   *
   * @param startUs the time now, in microseconds
   * @param leastUs what no task of late was faster than: one that has less time left is not begun
   * @throws RdmaError as TaskBoard.begin
   */
  constructor(rules: WatchRules, joined: JoinedInputs, task: Task, startUs: number, leastUs: number) {
    this.rules = rules;
    this.joined = joined;
    this.task = task;
    this.stopDeadline = this.watchDeadline(startUs, leastUs);
    this.begin(startUs);
    if (rules.mayBeAway) task.onAway = (isAway) => this.away(isAway);
  }

  private watchDeadline(nowUs: number, leastUs: number): (() => void) | undefined {
    const deadlineUs = deadlineOf(this.joined);
    if (deadlineUs === Number.POSITIVE_INFINITY) return undefined;
    const late = new RdmaError('RDMA_ERR_DEADLINE', `the deadline passed in stage ${this.rules.stageName}`);
    const leftMs = (deadlineUs - nowUs) / 1000;
    if (leftMs <= leastUs / 1000) {
      this.task.cancel(late);
      return undefined;
    }
    return this.rules.after(Math.min(leftMs, MAX_TIMER_MS), () => this.task.cancel(late));
  }

  private begin(nowUs: number): void {
    const { board } = this.rules;
    const { ledger, ticket, attempt } = this.joined;
    this.stopLimit = this.watchLimit();
    this.slot = board?.begin(ledger.gateway, ledger.gatewayRun, ticket, attempt, nowUs) ?? 0;
  }

  private watchLimit(): (() => void) | undefined {
    const { taskTimeoutMs, stageName } = this.rules;
    if (taskTimeoutMs === undefined) return undefined;
    return this.rules.after(taskTimeoutMs, () => {
      const text = `the task took longer than ${taskTimeoutMs} ms (taskTimeoutMs) in stage ${stageName}`;
      this.task.cancel(new RdmaError('RDMA_ERR_TIMEOUT', text, { stage: stageName }));
    });
  }

  // Its time limit starts again when a process has it again.
  private away(isAway: boolean): void {
    this.isAway = isAway;
    if (isAway) this.pause();
    else this.begin(this.rules.nowUs());
  }

  private pause(): void {
    this.stopLimit?.();
    this.rules.board?.end(this.slot);
  }

  /** The handler has ended. */
  end(): void {
    this.stopDeadline?.();
    if (!this.isAway) this.pause();
  }
}
