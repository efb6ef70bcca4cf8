// The number of GPUs held over time.
//
// Invariant: the times at each number add up to the length of the trace; nothing after its end counts.

/** GPUs in one hour. */
export interface HeldHour {
  readonly mean: number;
  readonly peak: number;
}

/** GPUs held over the whole trace. */
export interface HeldSummary {
  readonly mean: number;
  /** No more were held during 99 % of the time. */
  readonly p99: number;
  readonly peak: number;
  readonly hours: readonly HeldHour[];
}

const HOUR_S = 3600;

export class Held {
  private readonly endS: number;
  private readonly secondsAt: number[] = []; // by number held
  private readonly hourGpuS: Float64Array;
  private readonly hourPeak: Float64Array;
  private atS = 0;
  private now = 0;

  /** @param endS how long is accounted for, above 0 */
  constructor(endS: number) {
    this.endS = endS;
    const hours = Math.ceil(endS / HOUR_S);
    this.hourGpuS = new Float64Array(hours);
    this.hourPeak = new Float64Array(hours);
  }

  /** How many are held now. */
  get count(): number {
    return this.now;
  }

  change(nowS: number, by: number): void {
    this.until(nowS);
    this.now += by;
    const hour = Math.floor(nowS / HOUR_S);
    if (nowS < this.endS && this.hourPeak[hour]! < this.now) this.hourPeak[hour] = this.now;
  }

  private until(nowS: number): void {
    const endS = Math.min(nowS, this.endS);
    if (endS <= this.atS) return;
    this.secondsAt[this.now] = (this.secondsAt[this.now] ?? 0) + endS - this.atS;
    for (let s = this.atS; s < endS; ) {
      const hour = Math.floor(s / HOUR_S);
      const next = Math.min(endS, (hour + 1) * HOUR_S);
      this.hourGpuS[hour]! += this.now * (next - s);
      if (this.hourPeak[hour]! < this.now) this.hourPeak[hour] = this.now;
      s = next;
    }
    this.atS = endS;
  }

  /** The summary up to the end of the trace. */
  summary(): HeldSummary {
    this.until(this.endS);
    let [sum, peak] = [0, 0];
    this.secondsAt.forEach((seconds, count) => {
      sum += seconds * count;
      peak = Math.max(peak, count);
    });
    let [left, p99] = [this.endS * 0.01, peak];
    for (let count = peak; count >= 0; count--) {
      p99 = count;
      left -= this.secondsAt[count] ?? 0;
      if (left < 0) break;
    }
    const hours = Array.from(this.hourGpuS, (gpuS, i) => {
      const seconds = Math.min(HOUR_S, this.endS - i * HOUR_S);
      return { mean: gpuS / seconds, peak: this.hourPeak[i]! };
    });
    return { mean: sum / this.endS, p99, peak, hours };
  }
}
