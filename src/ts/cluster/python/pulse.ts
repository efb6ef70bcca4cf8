// Whether a Python process is stopped while it has tasks.
//
// Invariant: nothing is asked of the process. Only looks count, so a stage process that was stopped itself ends nobody
// for that time.
import { isStopped } from '../process-state.js';

/** The longest time between two looks, in ms. */
const LOOK_MS = 500;

export class Pulse {
  private readonly heartbeatMs: number;
  private readonly pid: () => number | undefined;
  private readonly onStopped: () => void;
  private timer: NodeJS.Timeout | undefined;
  private stoppedMs = 0;

  /**
   * @param heartbeatMs how long it may be stopped
   * @param pid of the process; undefined: it is not known yet
   * @param onStopped called at each look when it was stopped for longer
   */
  constructor(heartbeatMs: number, pid: () => number | undefined, onStopped: () => void) {
    this.heartbeatMs = heartbeatMs;
    this.pid = pid;
    this.onStopped = onStopped;
  }

  /** Looks from now on; a second call does nothing. */
  start(): void {
    if (this.timer !== undefined) return;
    const stepMs = Math.max(1, Math.min(LOOK_MS, this.heartbeatMs / 4));
    this.stoppedMs = 0;
    this.timer = setInterval(() => this.look(stepMs), stepMs);
  }

  private look(stepMs: number): void {
    const pid = this.pid();
    this.stoppedMs = pid !== undefined && isStopped(pid) ? this.stoppedMs + stepMs : 0;
    if (this.stoppedMs >= this.heartbeatMs) this.onStopped();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
