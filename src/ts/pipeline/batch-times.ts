// The usual time of batches by their size, learned from those that ran.
//
// Invariant: the expected time is never shorter than usual for this size or a larger one: a mean plus twice the mean
// deviation. Beyond the largest size that has run, it grows with the size.

/** How much a new sample counts. */
const SAMPLE_WEIGHT = 0.2;
/** Deviations that are added to the mean. */
const DEVIATIONS = 2;

/** A time that is measured again and again. */
export class UsualTime {
  private mean = Number.NaN;
  private deviation = 0;

  /** @param us one sample, in microseconds */
  add(us: number): void {
    if (Number.isNaN(this.mean)) {
      this.mean = us;
      // Of one sample nobody knows how usual it is.
      this.deviation = us / 2;
      return;
    }
    this.deviation += SAMPLE_WEIGHT * (Math.abs(us - this.mean) - this.deviation);
    this.mean += SAMPLE_WEIGHT * (us - this.mean);
  }

  /** What is seldom exceeded, in microseconds; NaN: there is no sample. */
  get expectedUs(): number {
    return this.mean + DEVIATIONS * this.deviation;
  }
}

/** The times of the batches of one stage instance. */
export class BatchTimes {
  private readonly bySize: (UsualTime | undefined)[] = [];

  /** @param us how long a batch of `size` tasks took, in microseconds */
  add(size: number, us: number): void {
    this.bySize[size] ??= new UsualTime();
    this.bySize[size].add(us);
  }

  /** What a batch of `size` tasks takes, in microseconds, seldom longer; NaN: none has run. */
  expectedUs(size: number): number {
    const { bySize } = this;
    for (let larger = size; larger < bySize.length; larger++) {
      const time = bySize[larger];
      if (time !== undefined) return time.expectedUs;
    }
    for (let smaller = Math.min(size, bySize.length) - 1; smaller > 0; smaller--) {
      const time = bySize[smaller];
      if (time !== undefined) return (time.expectedUs * size) / smaller;
    }
    return Number.NaN;
  }
}
