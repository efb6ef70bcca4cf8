// The watch over the processes of a pipeline: while there is work, it says which of them has to be ended.
//
// Invariant: it asks no process anything, so none can keep it waiting. Without requests and tasks it does not check,
// and costs nothing, unless a process was seen to be stopped: that one is looked at until it runs or is ended. A late
// check counts as two at most (place-watch.ts says why).
import { performance } from 'node:perf_hooks';
import type { RequestAttempt, RunningTask } from '../pipeline/index.js';
import type { PlaceWatch, Verdict } from './place-watch.js';

const LOOKS_PER_LIMIT = 4;
const MIN_LOOK_MS = 10;
const MAX_LOOK_MS = 250;

/** A process to be looked at. */
export interface Watched {
  readonly watch: PlaceWatch;
  /** What it runs. */
  readonly tasks: readonly RunningTask[];
  /** Whether it is stopped. */
  isStopped(): boolean;
  /** The request of this task has ended: it should stop. */
  onUnwanted(task: RequestAttempt): void;
  /** It is stopped since this look, or is not any more. */
  onStopped(isStopped: boolean): void;
  /** It has to be ended. */
  onVerdict(verdict: Verdict): void;
}

/** What it asks of the pipeline. */
export interface WatchmanHost {
  processes(): readonly Watched[];
  /** Whether requests are under way or wait. */
  isBusy(): boolean;
  /** Whether this attempt of a request has not ended. */
  isWanted(request: RequestAttempt): boolean;
}

/** How often to look, in ms, when these limits are watched over. */
export function lookMs(limitsMs: readonly number[]): number {
  return Math.max(MIN_LOOK_MS, Math.min(MAX_LOOK_MS, ...limitsMs.map((ms) => Math.ceil(ms / LOOKS_PER_LIMIT))));
}

export class Watchman {
  private readonly host: WatchmanHost;
  private readonly everyMs: number;
  private timer: NodeJS.Timeout | undefined;
  private lastMs = 0;

  /** @param everyMs how often to look, see {@link lookMs} */
  constructor(host: WatchmanHost, everyMs: number) {
    this.host = host;
    this.everyMs = everyMs;
  }

  /** There is work: it looks from now on, until there is none. */
  wake(): void {
    if (this.timer !== undefined) return;
    this.lastMs = performance.now();
    this.timer = setInterval(() => this.look(), this.everyMs);
    // It holds up no end of the program.
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private look(): void {
    const nowMs = performance.now();
    const stepMs = Math.min(nowMs - this.lastMs, 2 * this.everyMs);
    this.lastMs = nowMs;
    const { host } = this;
    let goesOn = host.isBusy();
    for (const each of host.processes()) {
      const { watch, tasks } = each;
      const before = watch.isStopped;
      const verdict = watch.look(
        stepMs,
        { tasks, isStopped: each.isStopped() },
        (task) => host.isWanted(task),
        (task) => each.onUnwanted(task),
      );
      if (watch.isStopped !== before) each.onStopped(watch.isStopped);
      if (tasks.length > 0 || watch.isStopped) goesOn = true;
      if (verdict !== undefined) each.onVerdict(verdict);
    }
    if (!goesOn) this.stop();
  }
}
