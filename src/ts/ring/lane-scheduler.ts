// The order of lanes with waiting messages: deficit round robin.
//
// Invariant: a lane with a waiting message gets its turn after at most one turn of every other such lane; in the long
// run, lanes that always have messages get the same number of bytes. An empty lane costs nothing. The message that
// exhausts a turn is finished in it, and its excess is charged to the following turns (Shreedhar and Varghese,
// "Efficient Fair Queuing Using Deficit Round-Robin", 1996, in the form that needs no look at the next message).
import type { Lane } from './lane.js';

/** Bytes of a turn. */
export const QUANTUM_BYTES = 65536;
/** What a message costs beside its bytes, so that empty ones are not free. */
const MESSAGE_COST_BYTES = 64;

export class LaneScheduler {
  private readonly queue: (Lane | undefined)[];
  private head = 0;
  private length = 0;

  /** @param capacity the most lanes that can wait at a time */
  constructor(capacity: number) {
    this.queue = new Array<Lane | undefined>(capacity).fill(undefined);
  }

  /** True when no lane has anything waiting. */
  get empty(): boolean {
    return this.length === 0;
  }

  /** `count` more messages of a lane have arrived. */
  announce(lane: Lane, count: number): void {
    lane.waiting += count;
    if (lane.queued) return;
    lane.queued = true;
    lane.deficit = QUANTUM_BYTES;
    this.push(lane);
  }

  private push(lane: Lane): void {
    const at = this.head + this.length;
    this.queue[at < this.queue.length ? at : at - this.queue.length] = lane;
    this.length++;
  }

  private shift(): Lane {
    const lane = this.queue[this.head]!;
    this.queue[this.head] = undefined;
    this.head = this.head + 1 === this.queue.length ? 0 : this.head + 1;
    this.length--;
    return lane;
  }

  /**
   * The lane whose message is next; undefined when nothing waits. Its next message is to be taken, and charged.
   * Allocates nothing.
   */
  next(): Lane | undefined {
    while (this.length > 0) {
      const lane = this.queue[this.head]!;
      if (lane.waiting > 0 && lane.deficit > 0) return lane;
      this.shift();
      if (lane.waiting === 0) {
        lane.queued = false;
        continue;
      }
      // Alone, there is nobody to make up for.
      lane.deficit = this.length === 0 ? QUANTUM_BYTES : lane.deficit + QUANTUM_BYTES;
      this.push(lane);
    }
    return undefined;
  }

  /** A message of `bytes` bytes of the lane was taken. */
  charge(lane: Lane, bytes: number): void {
    lane.waiting--;
    lane.deficit -= bytes + MESSAGE_COST_BYTES;
  }

  /** Nothing of the lane waits any more. */
  drop(lane: Lane): void {
    lane.waiting = 0;
    if (!lane.queued) return;
    lane.queued = false;
    for (let left = this.length; left > 0; left--) {
      const each = this.shift();
      if (each !== lane) this.push(each);
    }
  }
}
