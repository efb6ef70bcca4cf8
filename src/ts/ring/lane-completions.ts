// The completions of an inbox, and what they mean for its lanes.
//
// Invariant: nothing here calls the application. A failed completion, or one that no outbox would cause, condemns its
// own lane only; a completion of a lane that was fenced meanwhile is ignored.
import { RdmaError } from '../core/errors.js';
import { CompletionOpcode, CompletionStatus, completionStatusWords } from '../verbs/index.js';
import type { CondemnedLanes } from './condemned-lanes.js';
import type { Lane } from './lane.js';
import type { LaneNews } from './lane-news.js';
import { CONTROL_WR_ID } from './lane-reporter.js';
import { countOfImm, laneOfImm } from './layout.js';
import type { PolledLanes } from './polled-lanes.js';
import type { PortCompletionQueue } from './port.js';
import { PULL_WR_ID, type Pulls } from './pulls.js';
import type { LaneScheduler } from './lane-scheduler.js';

// As constants of this file: what another file exports is looked up at each use, and through an index by a call.
const { SUCCESS } = CompletionStatus;
const { RECEIVE_WITH_IMM } = CompletionOpcode;
/** Completions of one poll. */
const BATCH = 256;

/** What completions lead to. */
export interface CompletionParts {
  cq: PortCompletionQueue;
  lanesByQp: ReadonlyMap<number, Lane>;
  polled: PolledLanes;
  scheduler: LaneScheduler;
  news: LaneNews;
  condemned: CondemnedLanes;
  pulls: Pulls;
}

export class LaneCompletions {
  private readonly cq: PortCompletionQueue;
  private readonly lanesByQp: ReadonlyMap<number, Lane>;
  private readonly polled: PolledLanes;
  private readonly scheduler: LaneScheduler;
  private readonly news: LaneNews;
  private readonly condemned: CondemnedLanes;
  private readonly pulls: Pulls;

  constructor(parts: CompletionParts) {
    this.cq = parts.cq;
    this.lanesByQp = parts.lanesByQp;
    this.polled = parts.polled;
    this.scheduler = parts.scheduler;
    this.news = parts.news;
    this.condemned = parts.condemned;
    this.pulls = parts.pulls;
  }

  /** Handles what has completed; answers how many there were. @param looks as in {@link CompletionQueue.poll} */
  poll(looks: number): number {
    const { cq } = this;
    if (cq.closed) return 0;
    const count = cq.poll(BATCH, looks);
    for (let i = 0; i < count; i++) this.handle(i);
    return count;
  }

  /** Handles everything that is in the queue now, even while more comes. */
  pollAll(): number {
    let count = 0;
    const most = Math.ceil(this.cq.capacity / BATCH) + 1;
    for (let turn = 0, polled = 1; polled > 0 && turn < most; turn++) {
      polled = this.poll(1);
      count += polled;
    }
    return count;
  }

  private handle(i: number): void {
    const { completions } = this.cq;
    const lane = this.lanesByQp.get(completions.qpNum(i));
    if (lane === undefined) return; // of a lane that was fenced meanwhile
    const status = completions.status(i);
    const wrId = completions.wrId(i);
    if (wrId >= CONTROL_WR_ID) {
      this.sendCompleted(lane, wrId, status);
      return;
    }
    lane.receiveUsed();
    this.news.touch(lane);
    if (status !== SUCCESS) {
      this.condemned.condemn(lane, completionError(lane, status));
      return;
    }
    if (lane.broken) return;
    const imm = completions.imm(i);
    const messages = countOfImm(imm);
    const isRight = completions.opcode(i) === RECEIVE_WITH_IMM && laneOfImm(imm) === lane.id && messages > 0;
    if (!isRight || (lane.polled && !lane.land(messages))) {
      lane.condemn('a completion that no outbox makes');
      this.condemned.add(lane);
      return;
    }
    lane.markReady();
    if (lane.polled) this.polled.lookAt(lane);
    else this.scheduler.announce(lane, messages);
  }

  private sendCompleted(lane: Lane, wrId: number, status: number): void {
    let failure = status === SUCCESS ? undefined : completionError(lane, status);
    if (wrId >= PULL_WR_ID) {
      failure = this.pulls.completed(lane, status);
    } else {
      lane.controlSent();
      if (failure === undefined) {
        this.news.add(lane);
        // Its producer may wait for what has been released meanwhile.
        this.news.touch(lane);
      }
    }
    if (failure !== undefined) this.condemned.condemn(lane, failure);
  }
}

function completionError(lane: Lane, status: number): RdmaError {
  const why = `lane ${lane.id} of ${lane.progress.name}: ${completionStatusWords(status)}`;
  return new RdmaError('RDMA_ERR_PEER_GONE', why);
}
