// One-sided round trips: READ, FETCH_ADD or COMPARE_SWAP, one at a time, in which the other process takes no part.
//
// Invariant: the request is filled once and posted again each round; what it brings lands in the receiving part.
import { SendFlags } from '../../verbs/index.js';
import { LatencyLoop } from './latency-loop.js';
import type { VerbsSettings } from './settings.js';
import type { Side } from './side.js';

export class RoundTripLatency extends LatencyLoop {
  constructor(side: Side, settings: VerbsSettings, sizeBytes: number) {
    super(side, 'alone', settings.events);
    const { memory, remote } = side;
    const { sends } = this.qp;
    const from = remote.address + side.outOffset(0);
    const into = memory.address + side.intoOffset(0);
    const flags = SendFlags.SIGNALED;
    if (settings.test === 'read-lat') {
      sends.read(0, 0, flags, from, remote.rkey, into, sizeBytes, memory.lkey);
    } else if (settings.atomic === 'fetch-add') {
      sends.fetchAdd(0, 0, flags, from, remote.rkey, 1n, into, memory.lkey);
    } else {
      sends.compareSwap(0, 0, flags, from, remote.rkey, 0n, 0n, into, memory.lkey);
    }
  }

  protected prepare(): void {}

  protected arrived(): boolean {
    return true;
  }
}
