// Durations, counted in buckets: the memory is bounded, however many samples there are.
//
//   bucket    0 ... 15 | 16 ... 23       | 24 ... 31       | ... | 232 ... 239
//   from us   0 ... 15 | 16, 18 ... 30   | 32, 36 ... 60   | ... | 2^31 ...
//
// Invariant: from 16 us on each power of two has 8 buckets of the same width, so a percentile is right to 1/16 of
// itself. To count is one addition and makes no object. Counts only grow.

const FIRST_OCTAVE = 4;
const EXACT_BUCKETS = 2 ** FIRST_OCTAVE;
const SUB_BITS = 3;
const SUB_BUCKETS = 2 ** SUB_BITS;
/** How many buckets there are. */
export const LATENCY_BUCKETS = EXACT_BUCKETS + (32 - FIRST_OCTAVE) * SUB_BUCKETS;
const MOST_US = 2 ** 32 - 1;

/** What was counted: plain numbers that add up, and of which an earlier state can be taken away. */
export interface LatencyStatus {
  readonly count: number;
  readonly sumUs: number;
  /** The buckets that are not empty: index, count, index, count ...; ascending. */
  readonly buckets: readonly number[];
}

/** Times in microseconds, counted. */
export class Latency {
  private readonly counts = new Float64Array(LATENCY_BUCKETS);
  private count = 0;
  private sumUs = 0;

  /** Counts one. @param us below 0, and what is no number, is left out */
  add(us: number): void {
    if (!(us >= 0)) return;
    this.count++;
    this.sumUs += us;
    const index = latencyBucket(us);
    this.counts[index] = this.counts[index]! + 1;
  }

  /** What was counted until now. */
  status(): LatencyStatus {
    const buckets: number[] = [];
    for (let i = 0; i < LATENCY_BUCKETS; i++) if (this.counts[i]! > 0) buckets.push(i, this.counts[i]!);
    return { count: this.count, sumUs: this.sumUs, buckets };
  }
}

/** The bucket of a time, which is 0 or more. */
export function latencyBucket(us: number): number {
  const whole = us >= MOST_US ? MOST_US : Math.floor(us);
  if (whole < EXACT_BUCKETS) return whole;
  const octave = 31 - Math.clz32(whole);
  const sub = (whole >>> (octave - SUB_BITS)) & (SUB_BUCKETS - 1);
  return EXACT_BUCKETS + (octave - FIRST_OCTAVE) * SUB_BUCKETS + sub;
}

/** Where a bucket begins, in microseconds; that of {@link LATENCY_BUCKETS} is where the last one ends. */
export function latencyBucketStartUs(index: number): number {
  if (index < EXACT_BUCKETS) return index;
  const octave = FIRST_OCTAVE + Math.floor((index - EXACT_BUCKETS) / SUB_BUCKETS);
  const sub = (index - EXACT_BUCKETS) % SUB_BUCKETS;
  return 2 ** octave + sub * 2 ** (octave - SUB_BITS);
}

/** How long the inputs of a place were under way, by the stage that they came from. */
export class HopLatencies {
  private readonly byStage: (Latency | undefined)[] = []; // from the stage before the first, the request, on

  /** @param us -1 between hosts: it is left out */
  add(fromStage: number, us: number): void {
    if (!(us >= 0)) return;
    const at = fromStage + 1;
    const known = this.byStage[at];
    if (known !== undefined) {
      known.add(us);
      return;
    }
    const made = new Latency();
    this.byStage[at] = made;
    made.add(us);
  }

  /** @param nameOf a stage's index; -1 is the request */
  status(nameOf: (stage: number) => string): Record<string, LatencyStatus> {
    const hops: Record<string, LatencyStatus> = {};
    for (const [at, latency] of this.byStage.entries())
      if (latency !== undefined) hops[nameOf(at - 1)] = latency.status();
    return hops;
  }
}
