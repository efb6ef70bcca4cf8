// The lanes that have a report for their producers, and those that were touched in this poll.
//
// Invariant: a lane with news stays in the list until its report was tried; a lane whose report cannot be written is
// condemned. The arrays are reused, so that a poll allocates none.
import type { RdmaError } from '../core/errors.js';
import type { CondemnedLanes } from './condemned-lanes.js';
import type { Lane } from './lane.js';

export class LaneNews {
  private readonly touched: Lane[] = [];
  // Two lists that take turns.
  private dirty: (Lane | undefined)[] = [];
  private flushing: (Lane | undefined)[] = [];
  private dirtyCount = 0;
  private readonly condemned: CondemnedLanes;
  private readonly schedule: () => void;

  /** @param schedule asks for a poll, after which the news is reported */
  constructor(condemned: CondemnedLanes, schedule: () => void) {
    this.condemned = condemned;
    this.schedule = schedule;
  }

  /** True when a lane has news. */
  get any(): boolean {
    return this.dirtyCount > 0;
  }

  /** True when no lane but this one has news. */
  onlyOf(lane: Lane): boolean {
    return this.dirtyCount === (lane.dirty ? 1 : 0);
  }

  /** The lane has something to tell its producer. */
  add(lane: Lane): void {
    if (lane.dirty || lane.fenced) return;
    lane.dirty = true;
    this.dirty[this.dirtyCount++] = lane;
    this.schedule();
  }

  /** Reports what there is. @param all also small news */
  flush(all: boolean): void {
    const count = this.dirtyCount;
    if (count === 0) return;
    const lanes = this.dirty;
    this.dirty = this.flushing;
    this.flushing = lanes;
    this.dirtyCount = 0;
    for (let i = 0; i < count; i++) {
      const lane = lanes[i]!;
      lanes[i] = undefined;
      lane.dirty = false;
      if (lane.condemned !== undefined) continue;
      try {
        lane.flush(all);
      } catch (error) {
        this.condemned.condemn(lane, error as RdmaError);
      }
    }
  }

  /** The lane has used receives, or has delivered something, in this poll. */
  touch(lane: Lane): void {
    if (lane.touched) return;
    lane.touched = true;
    this.touched.push(lane);
  }

  /** Of the lanes that were touched: posts receives again, and reports where much is released. */
  settleTouched(): void {
    for (let lane = this.touched.pop(); lane !== undefined; lane = this.touched.pop()) {
      lane.touched = false;
      this.settle(lane);
    }
  }

  /** The same of one lane, on which nothing more has come than was taken: reports only when its producer needs it. */
  settleQuiet(lane: Lane): void {
    if (lane.condemned !== undefined || lane.fenced || lane.qp.closed) return;
    try {
      lane.flushIfLow();
    } catch (error) {
      this.condemned.condemn(lane, error as RdmaError);
    }
  }

  /** Posts receives of one lane again, and reports where much is released. */
  settle(lane: Lane): void {
    if (lane.condemned !== undefined || lane.fenced || lane.qp.closed) return;
    try {
      lane.repostSome();
      lane.flush(false);
    } catch (error) {
      this.condemned.condemn(lane, error as RdmaError);
    }
  }
}
