// The rule that says whether and when the process of a place is started again.
//
// Invariant: pure: time is an argument. A process that worked is replaced at once; one that ends again and again is
// replaced later and later. Deaths are forgotten only by time in which the place works, so the budget of a place that
// never works again runs out, however slowly its processes fail.

/** Deaths count for so long, in ms of work. */
const DEATH_COUNTS_MS = 60_000;
const FIRST_DELAY_MS = 100;
const LAST_DELAY_MS = 10_000;
/** How long a place whose processes say why they cannot begin may be away. */
const FAILED_AWAY_MS = 10_000;
/** Of a place whose budget is spent. */
const SPENT_DELAY_MS = 30_000;

/**
 * How a process ended: by `task`, for which a request is to blame; as it could not begin, and said why (`failed`); or
 * otherwise (`other`).
 */
export type End = 'task' | 'failed' | 'other';

/** What becomes of a place whose process has ended. */
export interface RestartVerdict {
  /** After how long the next process is started. */
  readonly delayMs: number;
  /** Why the place is not expected to work soon, in words; undefined: it is. */
  readonly spent: string | undefined;
}

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
   * @param end one by a task counts nothing, and the next one is started at once
   */
  died(nowMs: number, end: End = 'other'): RestartVerdict {
    const worked = this.readySinceMs === undefined ? 0 : nowMs - this.readySinceMs;
    this.readySinceMs = undefined;
    this.workedMs += worked;
    this.awaySinceMs ??= nowMs;
    if (end === 'task') return { delayMs: 0, spent: undefined };
    this.inARow++;
    const counted = this.deaths.filter((at) => this.workedMs - at < DEATH_COUNTS_MS);
    this.deaths = [...counted, this.workedMs].slice(-this.maxRestarts - 1);
    const spent = this.spentAt(nowMs, end === 'failed' ? Math.min(FAILED_AWAY_MS, this.maxAwayMs) : this.maxAwayMs);
    const lastMs = spent === undefined ? LAST_DELAY_MS : SPENT_DELAY_MS;
    const pauseMs = this.inARow === 1 ? 0 : Math.min(lastMs, FIRST_DELAY_MS * 2 ** (this.inARow - 2));
    // From when it was ready: one that has worked for longer has nothing to do with the deaths before it.
    if (worked < pauseMs) return { delayMs: Math.ceil(pauseMs - worked), spent };
    this.inARow = 1;
    return { delayMs: 0, spent };
  }

  private spentAt(nowMs: number, maxAwayMs: number): string | undefined {
    const { length } = this.deaths;
    if (length > this.maxRestarts) return `ended more than ${this.maxRestarts} times within a minute of work`;
    const awayMs = nowMs - (this.awaySinceMs ?? nowMs);
    return awayMs >= maxAwayMs ? `has had no process that is ready for ${Math.round(awayMs)} ms` : undefined;
  }
}
