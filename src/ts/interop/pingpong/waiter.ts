// Waiting for completions: by polling, or asleep until the channel has an event.
//
// Invariant: the event loop gets its turn often enough that a signal ends the wait, and a peer that is silent for too
// long ends it as well.
import { setImmediate as turn } from 'node:timers/promises';
import { RdmaError } from '../../core/errors.js';
import type { CompletionQueue } from '../../verbs/index.js';

const POLLS_PER_TURN = 256;

export class Waiter {
  private readonly timeoutMs: number;
  private readonly signal: AbortSignal | undefined;
  private polls = 0;
  private hasNews = false;
  private newsMs = performance.now();
  private rung = false;
  private ring: (() => void) | undefined;
  private watchdog: NodeJS.Timeout | undefined;

  constructor(timeoutMs: number, signal: AbortSignal | undefined) {
    this.timeoutMs = timeoutMs;
    this.signal = signal;
  }

  /** The channel has an event. */
  readonly wake = (): void => {
    this.rung = true;
    this.ring?.();
  };

  /**
   * @param sleeps whether the queue has a channel that calls wake(), and is armed
   * @returns how many completions there are now in `cq`, at least 1
   * @throws RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED
   */
  async next(cq: CompletionQueue, sleeps: boolean): Promise<number> {
    for (;;) {
      const count = cq.poll();
      this.hasNews ||= count > 0;
      if (count > 0 && (sleeps || ++this.polls % POLLS_PER_TURN !== 0)) return count;
      // What came since the last look at the clock counts from this one.
      if (this.hasNews) this.restart();
      if (count > 0 || (!sleeps && ++this.polls % POLLS_PER_TURN === 0)) {
        await turn();
        this.check();
      }
      if (count > 0) return count;
      if (!sleeps) continue;
      await this.sleep();
      // Before the poll: what comes after it raises the next event.
      cq.requestNotify();
    }
  }

  /** From now on the silence counts. */
  restart(): void {
    this.hasNews = false;
    this.newsMs = performance.now();
  }

  private async sleep(): Promise<void> {
    this.check();
    if (!this.rung) {
      const onAbort = () => this.ring?.();
      this.signal?.addEventListener('abort', onAbort, { once: true });
      this.watchdog ??= setInterval(() => this.ring?.(), Math.max(10, this.timeoutMs / 8));
      await new Promise<void>((resolve) => {
        this.ring = resolve;
      });
      this.ring = undefined;
      this.signal?.removeEventListener('abort', onAbort);
      this.check();
    }
    this.rung = false;
  }

  private check(): void {
    if (this.signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the pingpong was stopped');
    if (performance.now() - this.newsMs <= this.timeoutMs) return;
    throw new RdmaError('RDMA_ERR_TIMEOUT', `nothing came from the peer for ${this.timeoutMs / 1000} s`, {
      remedy: 'has it ended? A message of uc or ud that is lost is not sent again',
    });
  }

  close(): void {
    clearInterval(this.watchdog);
  }
}
