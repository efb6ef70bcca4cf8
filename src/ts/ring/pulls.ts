// Pulling: a message that is too long for the lane is READ from its producer's memory when the application asks for it.
//
// Invariant: the target memory stays registered and untouched until every READ has ended, even when nobody waits any
// more; a pull that lost its lane begins again on the next lane of the same producer, whose memory still holds the
// unacknowledged message. READs of one queue pair end in the order in which they were posted.
import { watchDeadline } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import { AccessFlags, CompletionStatus, completionStatusWords, crc32cOf, SendFlags } from '../verbs/index.js';
import { PULL_DEPTH } from './layout.js';
import type { Clock, PortMemory, PortQueuePair } from './port.js';

/** Work requests from this number on are READs; receives are 0. */
export const PULL_WR_ID = 2 ** 30;
const { REMOTE_ACCESS_ERROR } = CompletionStatus;
const SEGMENT_BYTES = 16 * 2 ** 20;

/** The lane on whose queue pair READs are posted. */
export interface PullLane {
  readonly progress: PullProgress;
  readonly qp: PortQueuePair;
  readonly fenced: boolean;
  readonly condemned: RdmaError | undefined;
  /** Its producer is connected. */
  readonly isReady: boolean;
  /** READs under way, oldest first. */
  readonly reads: { job: PullJob; length: number }[];
  /** Registers memory into which its queue pair may READ. */
  registerForPull(buffer: Uint8Array, access: number): PortMemory;
}

/** The producer that holds what is pulled. */
export interface PullProgress {
  readonly name: string;
  /** The lane that it has now. */
  readonly lane: PullLane | undefined;
  /** Its messages that are being pulled, oldest first. */
  pulls: PullJob[];
  isAcknowledged(sequence: number): boolean;
}

/** What is to be pulled: a whole message, or a block that a message refers to. */
export interface PullSource {
  what: 'message' | 'block';
  progress: PullProgress;
  sequence: number;
  address: number;
  rkey: number;
  length: number;
  /** The checksum that the producer gave; undefined: none. */
  crc: number | undefined;
}

/** One pull that is under way or waits for its turn. */
export class PullJob {
  readonly source: PullSource;
  readonly into: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: RdmaError) => void;
  /** The lane that it runs on, and the memory registered there. */
  lane: PullLane | undefined;
  region: PortMemory | undefined;
  /** Bytes asked for, and READs under way. */
  asked = 0;
  arrived = 0;
  inFlight = 0;
  /** Why it ends, once its READs have. */
  failure: RdmaError | undefined;

  constructor(source: PullSource, into: Uint8Array, resolve: () => void, reject: (error: RdmaError) => void) {
    this.source = source;
    this.into = into;
    this.resolve = resolve;
    this.reject = reject;
  }
}

/** The pulls of an inbox. */
export class Pulls {
  /** Told of all that was pulled. */
  private readonly onPulled: (source: PullSource) => void;
  private readonly clock: Clock;
  private readonly onPosted: () => void;
  private underWay = 0; // READs that were posted, and have not ended

  /** @param onPosted called when READs were posted, whose completions somebody has to look for */
  constructor(clock: Clock, onPulled: (source: PullSource) => void, onPosted: () => void) {
    this.clock = clock;
    this.onPulled = onPulled;
    this.onPosted = onPosted;
  }

  /** True while the completion queue is about to have something for a pull. */
  get isReading(): boolean {
    return this.underWay > 0;
  }

  /**
   * READs a message into `into`.
   *
   * @throws RdmaError RDMA_ERR_PEER_GONE when the producer is not there for `timeoutMs`; RDMA_ERR_TIMEOUT;
   *   RDMA_ERR_ABORTED; RDMA_ERR_PROTOCOL for a wrong checksum; RDMA_ERR_CLOSED; what registering throws
   */
  pull(source: PullSource, into: Uint8Array, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { progress } = source;
    return new Promise<void>((resolve, reject) => {
      const limits = {
        timeoutMs,
        signal,
        late: () => this.late(job, timeoutMs),
        aborted: 'the pull was aborted',
        timers: this.clock,
      };
      const leave = watchDeadline(limits, (error) => this.cancel(job, error));
      const finish = () => {
        leave();
        progress.pulls = progress.pulls.filter((each) => each !== job);
      };
      const job: PullJob = new PullJob(
        source,
        into,
        () => {
          finish();
          this.onPulled(source);
          resolve();
        },
        (error) => {
          finish();
          reject(error);
        },
      );
      progress.pulls.push(job);
      this.proceed(progress);
    });
  }

  private late(job: PullJob, timeoutMs: number): RdmaError {
    const { name } = job.source.progress;
    return job.lane === undefined
      ? new RdmaError('RDMA_ERR_PEER_GONE', `${name} did not come back within ${timeoutMs} ms`)
      : new RdmaError('RDMA_ERR_TIMEOUT', `the ${job.source.what} was not pulled within ${timeoutMs} ms`);
  }

  /** Posts what can be posted now on the producer's present lane. */
  proceed(progress: PullProgress): void {
    const { lane } = progress;
    if (lane === undefined || lane.fenced || lane.condemned !== undefined || !lane.isReady) return;
    for (const job of [...progress.pulls]) {
      if (lane.reads.length >= PULL_DEPTH) return;
      if (job.failure === undefined) this.post(lane, job);
    }
  }

  private post(lane: PullLane, job: PullJob): void {
    const { source, into } = job;
    try {
      if (source.length === 0) {
        job.resolve();
        return;
      }
      if (job.region === undefined) {
        job.region = lane.registerForPull(into, AccessFlags.LOCAL_WRITE);
        job.lane = lane;
      }
      const { region } = job;
      while (job.asked < source.length && lane.reads.length < PULL_DEPTH) {
        const length = Math.min(SEGMENT_BYTES, source.length - job.asked);
        const from = source.address + job.asked;
        lane.qp.sends.read(
          0,
          PULL_WR_ID,
          SendFlags.SIGNALED,
          from,
          source.rkey,
          region.address + job.asked,
          length,
          region.lkey,
        );
        lane.qp.postSend(1);
        lane.reads.push({ job, length });
        job.asked += length;
        job.inFlight++;
        this.underWay++;
        this.onPosted();
      }
    } catch (error) {
      this.cancel(job, error as RdmaError);
    }
  }

  /** The oldest READ of the lane has ended. Answers why the lane has to end, if it has. */
  completed(lane: PullLane, status: number): RdmaError | undefined {
    const read = lane.reads.shift();
    if (read === undefined) return new RdmaError('RDMA_ERR_PROTOCOL', 'a READ has ended that nobody posted');
    const { job } = read;
    this.underWay--;
    job.inFlight--;
    if (status !== 0) {
      // A reference that is wrong stays wrong on the next lane.
      if (status === REMOTE_ACCESS_ERROR && job.source.what === 'block') {
        const text = `${lane.progress.name} refers to memory that cannot be read`;
        job.failure ??= new RdmaError('RDMA_ERR_PROTOCOL', text);
      }
      const why = `${lane.progress.name} cannot be read: ${completionStatusWords(status)}`;
      return new RdmaError('RDMA_ERR_PEER_GONE', why);
    }
    job.arrived += read.length;
    if (job.arrived === job.source.length || (job.failure !== undefined && job.inFlight === 0)) this.end(job);
    this.proceed(lane.progress);
    return undefined;
  }

  private end(job: PullJob): void {
    job.region?.close();
    job.region = undefined;
    const { crc, sequence, progress, length } = job.source;
    if (job.failure === undefined && crc !== undefined && crc32cOf(job.into, 0, length) !== crc) {
      const text = `message ${sequence} of ${progress.name} was pulled and fails its checksum`;
      job.failure = new RdmaError('RDMA_ERR_PROTOCOL', text);
    }
    if (job.failure === undefined) job.resolve();
    else job.reject(job.failure);
  }

  private cancel(job: PullJob, failure: RdmaError): void {
    job.failure ??= failure;
    if (job.inFlight === 0) this.end(job);
  }

  /** The lane was fenced: no READ of it is under way any more. What it had begun begins again on the next one. */
  laneEnded(lane: PullLane): void {
    this.underWay -= lane.reads.length;
    lane.reads.length = 0;
    for (const job of [...lane.progress.pulls]) {
      if (job.lane !== lane) continue;
      job.region?.close();
      job.region = undefined;
      job.lane = undefined;
      job.asked = 0;
      job.arrived = 0;
      job.inFlight = 0;
      if (job.failure !== undefined) this.end(job);
    }
  }

  /** The inbox is closed, or has forgotten the producer: nothing will come any more. Its lanes are fenced. */
  reject(progress: PullProgress, error: RdmaError): void {
    for (const job of [...progress.pulls]) this.cancel(job, error);
  }
}
