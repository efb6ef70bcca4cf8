// Whether and when the process of a place is started again after it has ended.
//
// Invariant: pure: time is an argument. A process that worked is replaced at once; one that ends again and again is
// replaced later and later, and not for ever. Only time in which the place works makes its deaths forgotten, so a place
// that never works again comes to an end, however slowly its processes fail.

/** Deaths count for so long, in ms of work. */
const DEATH_COUNTS_MS = 60_000;
const FIRST_DELAY_MS = 100;
const LAST_DELAY_MS = 10_000;

/** What becomes of a place whose process has ended. */
export type Verdict = { readonly delayMs: number } | { readonly givenUp: string };

/** The deaths of one place. */
export class RestartBudget {
  private readonly maxRestarts: number;
  private readonly maxAwayMs: number;
  private workedMs = 0; // by processes that have ended
  private readySinceMs: number | undefined;
  private awaySinceMs: number | undefined;
  private deaths: number[] = []; // by the time worked until then
  private inARow = 0;

  /**
   * @param maxRestarts how often a place may be given another process within a minute of work
   * @param maxAwayMs how long a place may be without a process that works, once it has lost one
   */
  constructor(maxRestarts: number, maxAwayMs: number) {
    this.maxRestarts = maxRestarts;
    this.maxAwayMs = maxAwayMs;
  }

  /** Since when, by the caller's clock, no process works here; undefined while one does, or before the first death. */
  get awaySince(): number | undefined {
    return this.awaySinceMs;
  }

  /** A process is ready for work. */
  ready(nowMs: number): void {
    this.readySinceMs = nowMs;
    this.awaySinceMs = undefined;
  }

  /**
   * The process has ended, or could not be started.
   *
   * @param nowMs by a clock that never goes back
   * @returns after how long the next one is started, or in words why there is none
   */
  died(nowMs: number): Verdict {
    const worked = this.readySinceMs === undefined ? 0 : nowMs - this.readySinceMs;
    this.readySinceMs = undefined;
    this.workedMs += worked;
    this.inARow++;
    this.deaths = [...this.deaths.filter((at) => this.workedMs - at < DEATH_COUNTS_MS), this.workedMs];
    if (this.deaths.length > this.maxRestarts) {
      return { givenUp: `ended ${this.deaths.length} times within a minute of work` };
    }
    this.awaySinceMs ??= nowMs;
    const awayMs = nowMs - this.awaySinceMs;
    if (awayMs >= this.maxAwayMs) {
      return { givenUp: `has had no process that is ready for ${Math.round(awayMs)} ms` };
    }
    const pauseMs = this.inARow === 1 ? 0 : Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** (this.inARow - 2));
    // From when it was ready: one that has worked for longer has nothing to do with the deaths before it.
    if (worked < pauseMs) return { delayMs: Math.ceil(pauseMs - worked) };
    this.inARow = 1;
    return { delayMs: 0 };
  }
}
