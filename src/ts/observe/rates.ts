// Rates between two samples.
//
// Invariant: without an earlier sample there is no rate: null, never 0.
import { grown, type Sample } from './sample.js';

export class Rates {
  readonly ms: number | null;

  constructor(now: Sample, before: Sample | undefined) {
    const ms = before === undefined ? 0 : now.takenAtMs - before.takenAtMs;
    this.ms = ms > 0 ? ms : null;
  }

  of(now: number, before: number | undefined): number | null {
    return this.ms === null ? null : (grown(now, before) * 1000) / this.ms;
  }
}
