// The books of one trial: what producers counted as sent, what the consumer got, and how long the others waited after a
// fault.
//
// Invariant: nothing here knows which protocol it is.
import { bytesOf, MESSAGES, PRODUCERS, type Workload } from './workload.js';

/** What became of a trial. */
export interface TrialResult {
  deadlock: boolean;
  /** Messages that the producer counted as sent and that never arrived. */
  lost: number;
  /** Deliveries whose bytes were not those of the message. */
  torn: number;
  /** Deliveries of a message that had been delivered before. */
  duplicated: number;
  /** For each fault, ms until the next delivery of somebody else; Infinity when there was none. */
  recoveryMs: number[];
}

interface OpenFault {
  atMs: number;
  producer: number;
}

export class Books {
  /** When something last went on, in virtual ms. */
  lastProgressMs = 0;
  private readonly workload: Workload;
  private readonly nowMs: () => number;
  private readonly acknowledged: number[] = new Array<number>(PRODUCERS).fill(0);
  private readonly deliveries: number[][] = Array.from({ length: PRODUCERS }, () =>
    new Array<number>(MESSAGES).fill(0),
  );
  private readonly dead = new Array<boolean>(PRODUCERS).fill(false);
  private readonly openFaults: OpenFault[] = [];
  private readonly recoveries: number[] = [];
  private torn = 0;
  private duplicated = 0;

  constructor(workload: Workload, nowMs: () => number) {
    this.workload = workload;
    this.nowMs = nowMs;
  }

  /** A producer learns that everything up to `sequence` has been sent. */
  sent(producer: number, sequence: number): void {
    if (sequence <= this.acknowledged[producer]!) return;
    this.acknowledged[producer] = sequence;
    this.lastProgressMs = this.nowMs();
  }

  /** The consumer hands a message to its application. */
  delivered(producer: number, sequence: number, bytes: Uint8Array): void {
    this.lastProgressMs = this.nowMs();
    const mine = this.deliveries[producer];
    const known = mine !== undefined && sequence >= 1 && sequence <= MESSAGES;
    if (!known || Buffer.compare(bytes, bytesOf(this.workload, producer, sequence)) !== 0) {
      this.torn++;
      return;
    }
    if (++mine[sequence - 1]! > 1) this.duplicated++;
    for (let i = this.openFaults.length - 1; i >= 0; i--) {
      const fault = this.openFaults[i]!;
      if (fault.producer === producer) continue;
      this.recoveries.push(this.nowMs() - fault.atMs);
      this.openFaults.splice(i, 1);
    }
  }

  /**
   * A producer fails. Whether that hinders the others shows only if one of them works and has something left to send.
   *
   * @param well which producers work
   */
  fault(producer: number, dies: boolean, well: readonly boolean[]): void {
    this.lastProgressMs = this.nowMs();
    if (dies) this.dead[producer] = true;
    if (this.acknowledged.some((count, i) => i !== producer && well[i] && count < MESSAGES))
      this.openFaults.push({ atMs: this.nowMs(), producer });
  }

  /** True when every living producer knows that everything has been sent. */
  get complete(): boolean {
    return this.acknowledged.every((count, i) => this.dead[i] || count === MESSAGES);
  }

  result(): TrialResult {
    let lost = 0;
    for (const [producer, count] of this.acknowledged.entries()) {
      for (let n = 0; n < count; n++) if (this.deliveries[producer]![n] === 0) lost++;
    }
    // In a trial that was completed, what the others had left to send had been delivered already.
    const never = this.complete ? [] : this.openFaults.map(() => Number.POSITIVE_INFINITY);
    return {
      deadlock: !this.complete,
      lost,
      torn: this.torn,
      duplicated: this.duplicated,
      recoveryMs: [...this.recoveries, ...never],
    };
  }
}
