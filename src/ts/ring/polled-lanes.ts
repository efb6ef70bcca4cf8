// The lanes whose descriptors each poll reads.
//
// Invariant: at most one message of a polled lane is announced at a time, the next one, and only when it can be taken;
// a broken lane is condemned, and not polled any more.
import type { CondemnedLanes } from './condemned-lanes.js';
import type { Lane } from './lane.js';
import type { LaneScheduler } from './lane-scheduler.js';

export class PolledLanes {
  /** The one that there is, when there is just one and its producer stores into it. */
  alone: Lane | undefined;
  private readonly lanes: Lane[] = [];
  private readonly scheduler: LaneScheduler;
  private readonly condemned: CondemnedLanes;

  constructor(scheduler: LaneScheduler, condemned: CondemnedLanes) {
    this.scheduler = scheduler;
    this.condemned = condemned;
  }

  get empty(): boolean {
    return this.lanes.length === 0;
  }

  add(lane: Lane): void {
    this.lanes.push(lane);
    this.changed();
  }

  remove(lane: Lane): void {
    const at = this.lanes.indexOf(lane);
    if (at >= 0) this.lanes.splice(at, 1);
    this.changed();
  }

  clear(): void {
    this.lanes.length = 0;
    this.changed();
  }

  private changed(): void {
    const [first] = this.lanes;
    this.alone = this.lanes.length === 1 && first?.isStored === true ? first : undefined;
  }

  /** Looks at each lane once. Answers whether one of them waits for a completion. */
  lookAtAll(): boolean {
    const { lanes } = this;
    let waits = false;
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[i]!;
      this.lookAt(lane);
      waits ||= lane.waits;
    }
    return waits;
  }

  /** Announces the next message of a lane, if it is there. */
  lookAt(lane: Lane): void {
    if (lane.waiting > 0 || lane.condemned !== undefined) return;
    if (lane.arrived()) this.scheduler.announce(lane, 1);
    else if (lane.broken) this.condemned.add(lane);
  }
}
