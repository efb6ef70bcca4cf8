// Receives that are kept posted for the queue pairs of a side.
//
// Invariant: at least half of `rxDepth` receives are posted on every queue pair whenever take() is not running; they
// are posted again half a queue at a time, because a batch costs hardly more than one.
import { checkCompletion } from '../kit/loop.js';
import type { VerbsSettings } from './settings.js';
import type { Side } from './side.js';

/** Completions that are taken at once. */
const BATCH = 16;

export class Receives {
  private readonly side: Side;
  private readonly batch: number;
  private readonly used: Uint32Array;

  /** Posts `rxDepth` receives, each for the largest size, on every queue pair. */
  constructor(side: Side, { rxDepth }: VerbsSettings) {
    this.side = side;
    this.used = new Uint32Array(side.qps.length);
    const capacity = Math.min(rxDepth, side.qps[0]!.receives.capacity);
    this.batch = Math.max(1, Math.min(capacity, rxDepth >> 1));
    for (const [i, qp] of side.qps.entries()) {
      const address = side.memory.address + side.intoOffset(i);
      for (let r = 0; r < capacity; r++) {
        qp.receives.into(r, i, address, side.strideBytes, side.memory.lkey);
      }
      for (let left = rxDepth; left > 0; ) left -= qp.postReceive(Math.min(left, capacity));
    }
  }

  /** Takes at most `max` messages that have come, looking up to `looks` times for the first. @returns how many */
  take(max = BATCH, looks = 1): number {
    const { side, used, batch } = this;
    const { receiveCq } = side;
    const count = receiveCq.poll(max, looks);
    for (let i = 0; i < count; i++) {
      checkCompletion(receiveCq, i);
      const index = receiveCq.completions.wrId(i);
      const now = used[index]! + 1;
      if (now < batch) {
        used[index] = now;
      } else {
        used[index] = 0;
        side.qps[index]!.postReceive(batch);
      }
    }
    return count;
  }
}
