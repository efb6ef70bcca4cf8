// Ping-pong of SENDs: each side waits for a receive to complete, and then sends back.
//
// Invariant: a receive is posted for every SEND before the other side can make it. The request is filled once.
import { LatencyLoop } from './latency-loop.js';
import { LOOKS, POLL_SPINS } from '../kit/loop.js';
import type { Receives } from './receives.js';
import type { VerbsSettings } from './settings.js';
import type { Side } from './side.js';

export class SendLatency extends LatencyLoop {
  private readonly receives: Receives;
  private readonly looks: number;

  constructor(side: Side, receives: Receives, settings: VerbsSettings, sizeBytes: number, starts: boolean) {
    const looks = settings.events ? 1 : LOOKS;
    super(side, starts ? 'starts' : 'answers', settings.events, POLL_SPINS, looks);
    this.looks = looks;
    const { memory } = side;
    this.receives = receives;
    const flags = this.flags(sizeBytes, settings.inlineBytes);
    this.qp.sends.send(0, 0, flags, memory.address + side.outOffset(0), sizeBytes, memory.lkey);
  }

  protected prepare(): void {}

  protected arrived(): boolean {
    return this.receives.take(1, this.looks) > 0;
  }
}
