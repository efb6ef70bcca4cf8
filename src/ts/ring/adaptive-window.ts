// The time that it pays to poll before going to sleep.
//
// Invariant: the window is between a few microseconds and the limit. It opens when polling has found something, or
// would have; it closes while polling finds nothing, so that no processor is wasted on events that always come a little
// too late.

/** The shortest time that is polled. */
const MIN_US = 4;
/** What a wake takes: an event that came so much later than the limit would have been found by polling up to it. */
const WAKE_US = 30;
/** Polls of the whole window in a row that found nothing, after which wakes do not open it any more, */
const MAX_FUTILE = 4;
/** and for how many polls after that. */
const PENANCE = 64;

/** When a yielded processor comes back this much later, another process computes on it. */
const LONG_AWAY_MS = 1;
/** Then it does not poll for that long, and longer when that happens again at once. */
const CROWDED_MS = { first: 20, most: 640 };

export class AdaptiveWindow {
  /** How long to poll now, in microseconds. */
  us: number;
  /** The longest time that is polled. */
  readonly limitUs: number;
  private crowdedUntilMs = Number.NEGATIVE_INFINITY;
  private crowdedMs = CROWDED_MS.first;
  private readonly minUs: number;
  private futile = 0;

  /** @param limitUs the longest time that is polled; 0: none */
  constructor(limitUs: number) {
    this.limitUs = limitUs;
    this.minUs = Math.min(MIN_US, limitUs);
    this.us = limitUs;
  }

  /** Polling has found something, at `nowMs`. */
  hit(nowMs: number): void {
    if (this.isCrowded(nowMs)) return;
    if (nowMs > this.crowdedUntilMs + this.crowdedMs) this.crowdedMs = CROWDED_MS.first;
    this.futile = 0;
    this.us = this.limitUs;
  }

  /**
   * Others had the processor until `nowMs`, for `awayMs`. A process that computes keeps it for milliseconds; one that
   * sleeps gets it back when something comes.
   */
  gaveWay(nowMs: number, awayMs: number): void {
    if (awayMs < LONG_AWAY_MS) return;
    this.crowdedUntilMs = nowMs + this.crowdedMs;
    this.crowdedMs = Math.min(CROWDED_MS.most, 2 * this.crowdedMs);
    this.us = this.minUs;
  }

  /** True while giving the processor away would cost too much: it polls for the shortest time and then sleeps. */
  isCrowded(nowMs: number): boolean {
    return nowMs < this.crowdedUntilMs;
  }

  /** It has polled for the whole window and found nothing. */
  miss(): void {
    if (this.us === this.limitUs || this.futile >= MAX_FUTILE) this.futile++;
    if (this.futile >= MAX_FUTILE + PENANCE) this.futile = 0;
    this.us = Math.max(this.minUs, this.us / 2);
  }

  /** A wake has brought something at `nowMs`, `afterUs` after it had begun to wait. */
  woken(nowMs: number, afterUs: number): void {
    if (this.isCrowded(nowMs)) return;
    if (this.futile >= MAX_FUTILE || afterUs > this.limitUs + WAKE_US) return;
    this.us = Math.min(this.limitUs, Math.max(1, this.us) * 4);
  }
}
