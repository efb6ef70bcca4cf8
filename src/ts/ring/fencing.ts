// The end of lanes: everything published on a lane is delivered, then its producer is shut out.
//
// Invariant: a condemned lane is fenced before the poll ends, or in the next poll if a visitor throws; a finished fence
// wakes its waiters. No completion of a fenced lane counts for a later lane.
import { RdmaError } from '../core/errors.js';
import type { Admission } from './admission.js';
import { notify } from './callback.js';
import type { CondemnedLanes } from './condemned-lanes.js';
import type { Delivery } from './delivery.js';
import type { LaneEvent } from './inbox-options.js';
import type { Lane } from './lane.js';
import type { LaneCompletions } from './lane-completions.js';
import type { PolledLanes } from './polled-lanes.js';
import type { PortChannel } from './port.js';
import type { Pulls } from './pulls.js';
import type { RemoteMemory } from './remote-memory.js';
import type { InboxCounters } from './status.js';
import type { LaneScheduler } from './lane-scheduler.js';

/** What a lane has to leave. */
export interface FencingParts {
  lanesByQp: Map<number, Lane>;
  channels: Map<Lane, PortChannel>;
  condemned: CondemnedLanes;
  delivery: Delivery;
  completions: LaneCompletions;
  scheduler: LaneScheduler;
  polled: PolledLanes;
  pulls: Pulls;
  remote: RemoteMemory;
  admission: Admission;
  counters: InboxCounters;
  onLane: ((event: LaneEvent) => void) | undefined;
  /** Called when the last lane is gone. */
  onEmpty: () => void;
}

export class Fencing {
  private readonly parts: FencingParts;
  private readonly condemned: CondemnedLanes;
  private readonly waiters = new Map<Lane, (() => void)[]>();

  constructor(parts: FencingParts) {
    this.parts = parts;
    this.condemned = parts.condemned;
  }

  /** True when a lane is to be fenced. */
  get isDue(): boolean {
    return this.condemned.first !== undefined;
  }

  /** Fences every lane that is condemned. Answers how many completions and messages that brought. */
  fenceCondemned(visit: (lane: Lane) => void): number {
    const { completions, delivery } = this.parts;
    let count = 0;
    // Until all are fenced: what a visit throws must not make anybody forget one.
    for (let lane = this.condemned.first; lane !== undefined; lane = this.condemned.first) {
      lane.stop();
      // What has arrived is delivered first; nothing new arrives on this lane.
      count += completions.pollAll();
      count += delivery.finish(lane, visit);
      this.condemned.remove(lane);
      if (!lane.fenced) this.fence(lane);
      // What the queue pair has left behind is taken now, and not for that of a later one with the same number.
      count += completions.pollAll();
    }
    return count;
  }

  private fence(lane: Lane): void {
    const { lanesByQp, channels, scheduler, polled, pulls, remote, admission, counters, onLane, onEmpty } = this.parts;
    const reason = lane.condemned ?? new RdmaError('RDMA_ERR_FENCED', 'the lane was fenced');
    scheduler.drop(lane);
    polled.remove(lane);
    lanesByQp.delete(lane.qp.qpNum);
    const revoked = lane.fence();
    pulls.laneEnded(lane);
    remote.laneEnded(lane.progress);
    admission.remove(lane);
    counters.fences++;
    const channel = channels.get(lane);
    channels.delete(lane);
    channel?.destroy(reason);
    for (const wake of this.waiters.get(lane) ?? []) wake();
    this.waiters.delete(lane);
    const { name: from, producer } = lane.progress;
    notify(onLane, { type: 'fenced', from, producer, reason });
    if (!revoked) {
      counters.quarantined++;
      notify(onLane, { type: 'quarantined', from, producer, reason });
    }
    if (lanesByQp.size === 0) onEmpty();
  }

  /** Condemns a lane, and ends when it is fenced or the inbox is closed. */
  fenceAndWait(lane: Lane, reason: RdmaError): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.waiters.get(lane) ?? [];
      waiters.push(resolve);
      this.waiters.set(lane, waiters);
      this.condemned.condemn(lane, reason);
    });
  }

  /** The inbox is closed: fences every lane at once, and delivers nothing more. */
  fenceAll(): void {
    const { lanesByQp, channels, polled, pulls } = this.parts;
    for (const lane of [...lanesByQp.values()]) {
      lane.fence();
      pulls.laneEnded(lane);
      lane.closeMemory();
    }
    for (const waiters of this.waiters.values()) for (const wake of waiters) wake();
    lanesByQp.clear();
    polled.clear();
    const open = [...channels.values()];
    channels.clear();
    for (const channel of open) channel.close();
  }
}
