// How long it pays to poll before going to sleep.
//
// Invariant: the window is between a few microseconds and the limit. It opens when polling has found something, or
// would have; it closes while polling finds nothing, so that nobody burns a processor for events that always come a
// little too late.

/** The shortest time that is polled. */
const MIN_US = 4;
/** What a wake takes: an event that came so much later than the limit would have been found by polling up to it. */
const WAKE_US = 30;
/** Polls of the whole window in a row that found nothing, after which wakes do not open it any more, */
const MAX_FUTILE = 4;
/** and for how many polls after that. */
const PENANCE = 64;

export class AdaptiveWindow {
  /** How long to poll now, in microseconds. */
  us: number;
  /** The longest time that is polled. */
  readonly limitUs: number;
  private readonly minUs: number;
  private futile = 0;

  /** @param limitUs the longest time that is polled; 0: none */
  constructor(limitUs: number) {
    this.limitUs = limitUs;
    this.minUs = Math.min(MIN_US, limitUs);
    this.us = limitUs;
  }

  /** Polling has found something. */
  hit(): void {
    this.futile = 0;
    this.us = this.limitUs;
  }

  /** It has polled for the whole window and found nothing. */
  miss(): void {
    if (this.us === this.limitUs || this.futile >= MAX_FUTILE) this.futile++;
    if (this.futile >= MAX_FUTILE + PENANCE) this.futile = 0;
    this.us = Math.max(this.minUs, this.us / 2);
  }

  /** A wake has brought something, `afterUs` after it had begun to wait. */
  woken(afterUs: number): void {
    if (this.futile >= MAX_FUTILE || afterUs > this.limitUs + WAKE_US) return;
    this.us = Math.min(this.limitUs, Math.max(1, this.us) * 4);
  }
}
