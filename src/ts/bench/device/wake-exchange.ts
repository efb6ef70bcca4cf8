// Ping-pong between two event loops that sleep: by messages of the device, or by bare event descriptors.
//
// Invariant: nobody polls between two wakes; libuv watches both kinds of descriptor in the same way, and a side answers
// before it gets ready to sleep again.
import { SendFlags } from '../../verbs/index.js';
import type { EventFd } from '../../verbs/event-fd.js';
import { checkCompletion, POLL_SPINS } from '../kit/loop.js';
import { BATCH, type Side, SMALL_BYTES } from './side.js';
import { type Ending, throwIfEnded } from './spin.js';

/** What wakes: a WRITE_WITH_IMM, or an eventfd(2) that libuv watches. */
export type Waker = 'device' | 'eventfd';

const LOOK_MS = 500;

export class WakeExchange {
  private readonly side: Side;
  private readonly mine: EventFd;
  private readonly other: EventFd;
  private given = 0;
  private onWake: () => void = () => {};

  /**
   * @param mine is signaled by the other side
   * @param other is signaled by this side
   */
  constructor(side: Side, mine: EventFd, other: EventFd) {
    this.side = side;
    this.mine = mine;
    this.other = other;
    this.mine.watch(() => this.onWake());
  }

  /**
   * @param samples in the side that leads: half of each round trip in microseconds
   * @param onReady called when this side can be woken
   */
  async run(
    waker: Waker,
    rounds: number,
    samples: Float64Array | undefined,
    ending: Ending,
    onReady: () => void = () => {},
  ): Promise<void> {
    const { side } = this;
    this.fill(0);
    const leads = samples !== undefined;
    let left = rounds;
    let begin = 0;
    const give = waker === 'device' ? () => this.post() : () => this.other.signal();
    await new Promise<void>((resolve, reject) => {
      const woken = () => {
        if (leads) samples[rounds - left] = (performance.now() - begin) * 500;
        left--;
        if (leads && left > 0) begin = performance.now();
        if (!leads || left > 0) give();
        if (left === 0) finish();
      };
      const guard = (act: () => void) => () => {
        try {
          act();
        } catch (error) {
          finish(error);
        }
      };
      const finish = (error?: unknown) => {
        side.onEvent = () => {};
        this.onWake = () => {};
        side.channel.keepAlive(false);
        clearInterval(timer);
        error === undefined ? resolve() : reject(error);
      };
      // Only to end when the other side does; it wakes nobody who is measured twice in half a second.
      const timer = setInterval(
        guard(() => throwIfEnded(ending)),
        LOOK_MS,
      );
      side.channel.keepAlive(true);
      side.onEvent = guard(() => this.onCompletion(woken));
      this.onWake = guard(woken);
      if (waker === 'device') side.receiveCq.requestNotify();
      onReady();
      begin = performance.now();
      if (leads) guard(give)();
    });
  }

  private onCompletion(woken: () => void): void {
    const { receiveCq, qp } = this.side;
    for (let armed = false; ; ) {
      const count = receiveCq.poll();
      if (count === 0 && armed) return;
      for (let i = 0; i < count; i++) {
        checkCompletion(receiveCq, i);
        woken();
      }
      if (count > 0) qp.postEmptyReceives(count);
      // And one look more, for what came before it was armed.
      receiveCq.requestNotify();
      armed = true;
    }
  }

  private fill(flags: number): void {
    const { qp, small, remote, out, into } = this.side;
    const from = small.address + out;
    qp.sends.writeWithImm(0, 0, flags, 0, remote.address + into, remote.rkey, from, SMALL_BYTES, small.lkey);
  }

  private post(): void {
    const { side, given } = this;
    const signal = given % BATCH === BATCH - 1;
    if (signal) this.fill(SendFlags.SIGNALED);
    side.qp.postSend(1);
    this.given = given + 1;
    if (!signal) return;
    this.fill(0);
    for (let spins = 0; !side.takeSend() && spins < POLL_SPINS; spins++);
  }
}
