// Ping-pong of WRITEs: each side waits for the last byte of its own memory to change, and then writes back.
//
// Invariant: the last byte of message n is n % 255 + 1, and both sides count alike, so a message is never taken for
// the one before it. The request is filled once; a round posts it again.
import { LatencyLoop } from './latency-loop.js';
import { MEMORY_SPINS } from '../kit/loop.js';
import type { VerbsSettings } from './settings.js';
import type { Side } from './side.js';

export class WriteLatency extends LatencyLoop {
  private readonly bytes: Uint8Array;
  private readonly out: number;
  private readonly into: number;

  constructor(side: Side, settings: VerbsSettings, sizeBytes: number, starts: boolean) {
    super(side, starts ? 'starts' : 'answers', false, MEMORY_SPINS);
    const { memory, remote } = side;
    this.bytes = side.bytes;
    this.out = side.outOffset(0) + sizeBytes - 1;
    this.into = side.intoOffset(0) + sizeBytes - 1;
    const flags = this.flags(sizeBytes, settings.inlineBytes);
    const to = remote.address + side.intoOffset(0);
    const from = memory.address + side.outOffset(0);
    this.qp.sends.write(0, 0, flags, to, remote.rkey, from, sizeBytes, memory.lkey);
  }

  protected prepare(round: number): void {
    this.bytes[this.out] = (round % 255) + 1;
  }

  // Atomics.load, because an ordinary load may be kept in a register.
  protected arrived(round: number): boolean {
    return Atomics.load(this.bytes, this.into) === (round % 255) + 1;
  }
}
