// The samples that are kept: the last seconds one by one, the last minute coarsely.
//
// Invariant: bounded, and in order of time. Rates are averages over some seconds, percentiles over a minute; a sample
// that is too old for both is forgotten.
import type { Sample } from './sample.js';

/** Rates are averages over about so long. */
export const RATE_MS = 5000;
/** Recent percentiles are of about so long. */
export const RECENT_MS = 60_000;
const COARSE_MS = 10_000;
/** A rate needs a distance that is large beside how unevenly looks come. */
const LEAST_MS = 200;

export class Samples {
  private fine: Sample[] = [];
  private coarse: Sample[] = [];

  /** Takes in the newest one. */
  add(sample: Sample): void {
    const { takenAtMs } = sample;
    this.fine = this.fine.filter((old) => takenAtMs - old.takenAtMs <= RATE_MS + LEAST_MS);
    this.fine.push(sample);
    this.coarse = this.coarse.filter((old) => takenAtMs - old.takenAtMs <= RECENT_MS + COARSE_MS);
    const last = this.coarse.at(-1);
    if (last === undefined || takenAtMs - last.takenAtMs >= COARSE_MS) this.coarse.push(sample);
  }

  /** The newest one. */
  get newest(): Sample | undefined {
    return this.fine.at(-1);
  }

  /** What rates are computed from, beside the newest. */
  get forRates(): Sample | undefined {
    return this.before(this.fine) ?? this.before(this.coarse.slice(-1));
  }

  /** What recent percentiles are computed from, beside the newest. */
  get forPercentiles(): Sample | undefined {
    return this.before(this.coarse);
  }

  // The oldest that is far enough from the newest.
  private before(list: readonly Sample[]): Sample | undefined {
    const { newest } = this;
    return newest === undefined ? undefined : list.find(({ takenAtMs }) => newest.takenAtMs - takenAtMs >= LEAST_MS);
  }
}
