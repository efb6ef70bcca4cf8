// The time of a simulation, and what is still to come.
//
// Invariant: time never goes back. Events of the same time happen in the order in which they were added.
import { EventHeap } from './event-heap.js';
import type { Pool } from './pool.js';
import type { Job, Worker } from './worker.js';

/** What happens at a time that was known before. */
export type Event =
  | { readonly type: 'task'; readonly worker: Worker; readonly stamp: number }
  | { readonly type: 'ready'; readonly worker: Worker }
  | { readonly type: 'hop'; readonly job: Job }
  | { readonly type: 'due'; readonly job: Job }
  | { readonly type: 'tick'; readonly pool: Pool; readonly stamp: number }
  | { readonly type: 'death' }
  | { readonly type: 'outage'; readonly begins: boolean };

export class Timeline {
  private readonly events = new EventHeap<Event>();
  private presentS = 0;

  /** The present, in s from the beginning of the trace. */
  get nowS(): number {
    return this.presentS;
  }

  /** When the next event happens, in s; Infinity when none is to come. */
  get nextS(): number {
    return this.events.nextS;
  }

  /** An event is to come. @param atS when, not before now */
  add(atS: number, event: Event): void {
    this.events.add(atS, event);
  }

  /** Time passes, and no event happens. @param atS the new present, not before now and not after the next event */
  moveTo(atS: number): void {
    this.presentS = atS;
  }

  /** Time passes until the next event. Call it only when one is to come. */
  take(): Event {
    this.presentS = this.events.nextS;
    return this.events.take();
  }
}
