// Ping-pong by WRITEs of small messages: each side waits until it sees the other's mark in its own memory.
//
// Invariant: the mark of round n is n % 255 + 1 in the last byte, so a message is never taken for the one before it; as
// in real programs most requests are unsignaled, and every 64th has a completion. Nothing here allocates.
import { SendFlags } from '../../verbs/index.js';
import { BATCH, type Side, SMALL_BYTES } from './side.js';
import { checkStall, SPINS_BEFORE_CLOCK, spinUntil } from './spin.js';

export class MarkExchange {
  private readonly side: Side;
  private given = 0;
  private taken = 0;

  constructor(side: Side) {
    this.side = side;
  }

  /** The side that measures: `samples` gets half of each round trip in microseconds. */
  lead(rounds: number, samples: Float64Array): void {
    this.fill(0);
    let begin = performance.now();
    for (let i = 0; i < rounds; i++) {
      this.give();
      this.take();
      const now = performance.now();
      samples[i] = (now - begin) * 500;
      begin = now;
    }
  }

  /** The side that answers. */
  follow(rounds: number): void {
    this.fill(0);
    for (let i = 0; i < rounds; i++) {
      this.take();
      this.give();
    }
  }

  private fill(flags: number): void {
    const { qp, small, remote, out, into } = this.side;
    const from = small.address + out;
    qp.sends.write(0, 0, flags, remote.address + into, remote.rkey, from, SMALL_BYTES, small.lkey);
  }

  private give(): void {
    const { side, given } = this;
    side.bytes[side.out + SMALL_BYTES - 1] = (given % 255) + 1;
    const signal = given % BATCH === BATCH - 1;
    if (signal) this.fill(SendFlags.SIGNALED);
    side.qp.postSend(1);
    this.given = given + 1;
    if (!signal) return;
    this.fill(0);
    spinUntil(() => side.takeSend());
  }

  private take(): void {
    const { bytes, into } = this.side;
    const mark = (this.taken % 255) + 1;
    const at = into + SMALL_BYTES - 1;
    // Atomics.load, because an ordinary load may be kept in a register.
    for (let spins = 1; Atomics.load(bytes, at) !== mark; spins++) {
      if (spins % SPINS_BEFORE_CLOCK === 0) checkStall(spins === SPINS_BEFORE_CLOCK);
    }
    this.taken++;
  }
}
