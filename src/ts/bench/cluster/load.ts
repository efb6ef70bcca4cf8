// Requests that come all the time while something is done to the cluster.
//
// Invariant: each request is counted once, as answered or failed; an answer that is not that of its request is a
// failure. A latency belongs to the moment at which the request was sent.
import { RdmaError } from '../../core/errors.js';
import { percentile, round3 } from '../kit/statistics.js';

export interface ClusterSubject {
  /** Null for this project; otherwise the name of the peer. */
  readonly peer: string | null;
  /** Runs one request. @throws when it fails, or its answer is another one's */
  call(n: number, stageMs: number): Promise<void>;
}

/** @throws RdmaError RDMA_ERR_PROTOCOL when an answer is not that of the request */
export function checkAnswer(n: number, found: unknown): void {
  if (found !== n) throw new RdmaError('RDMA_ERR_PROTOCOL', `request ${n} was answered with that of ${String(found)}`);
}

/** What came of requests. */
export interface LoadFigures {
  readonly answered: number;
  readonly failed: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly perSecond: number;
  /** Why the first of them failed. */
  readonly reason: string | null;
}

let next = 1;

/** The number of a request that nobody had. */
export const nextRequest = (): number => next++;

export class ClusterLoad {
  answered = 0;
  private failed = 0;
  private reason: string | null = null;
  private latenciesMs: number[] = [];
  private beganMs = performance.now();
  private isStopped = false;
  private readonly over: Promise<unknown>;

  constructor(
    private readonly subject: ClusterSubject,
    clients: number,
    private readonly stageMs: number,
  ) {
    this.over = Promise.all(Array.from({ length: clients }, () => this.client()));
  }

  private async client(): Promise<void> {
    while (!this.isStopped) {
      const sentMs = performance.now();
      try {
        await this.subject.call(nextRequest(), this.stageMs);
        this.answered++;
        if (sentMs >= this.beganMs) this.latenciesMs.push(performance.now() - sentMs);
      } catch (error) {
        this.failed++;
        this.reason ??= String(error);
        // One that fails at once is no reason to keep a processor busy.
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }

  /** What came of the requests since the last call; the next figures begin here. */
  take(): LoadFigures {
    const { answered, failed, reason } = this;
    const nowMs = performance.now();
    const figures = summarize(this.latenciesMs, nowMs - this.beganMs);
    [this.answered, this.failed, this.reason, this.latenciesMs, this.beganMs] = [0, 0, null, [], nowMs];
    return { ...figures, answered, failed, reason };
  }

  /** Sends no more, and waits for those under way. */
  async stop(): Promise<LoadFigures> {
    this.isStopped = true;
    await this.over;
    return this.take();
  }
}

function summarize(latenciesMs: readonly number[], ms: number): Pick<LoadFigures, 'p50Ms' | 'p99Ms' | 'perSecond'> {
  const sorted = Float64Array.from(latenciesMs).sort();
  const at = (share: number) => (sorted.length === 0 ? null : round3(percentile(sorted, share)));
  return { p50Ms: at(0.5), p99Ms: at(0.99), perSecond: round3((sorted.length * 1000) / ms) };
}
