// The lanes that are about to be fenced.
//
// Invariant: a lane is here from when it is condemned until its fence begins; none is forgotten in between.
import type { RdmaError } from '../core/errors.js';
import type { Lane } from './lane.js';

export class CondemnedLanes {
  private lanes: Lane[] = [];
  private readonly schedule: () => void;

  /** @param schedule asks for a poll, in which they are fenced */
  constructor(schedule: () => void) {
    this.schedule = schedule;
  }

  /** The one that is next. */
  get first(): Lane | undefined {
    return this.lanes[0];
  }

  /** Condemns a lane; the first reason stays. */
  condemn(lane: Lane, reason: RdmaError): void {
    if (lane.fenced) return;
    lane.condemned ??= reason;
    this.add(lane);
    this.schedule();
  }

  /** Adds a lane that has condemned itself, in the middle of a poll. */
  add(lane: Lane): void {
    if (!lane.fenced && !this.lanes.includes(lane)) this.lanes.push(lane);
  }

  remove(lane: Lane): void {
    this.lanes = this.lanes.filter((each) => each !== lane);
  }
}
