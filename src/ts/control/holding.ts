// One period of holding a lease, from when it is acquired to when it ends.
//
// Invariant: once it has ended it never holds again; the next holder has a higher term. It ends by this process's
// clock, even if no code runs at that moment.
import type { Timers } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';

/** @internal What a holding needs of its lease. */
export interface Raiser {
  raise(holding: Holding, above: number): Promise<void>;
}

export class Holding {
  /** @internal The term that is to be written next. */
  wanted = 0;
  private readonly over = new AbortController();
  private reason: RdmaError | undefined;
  private readonly waiting: (() => void)[] = [];
  private cancelTimer: () => void = () => {};

  /** @internal */
  constructor(
    private readonly lease: Raiser,
    private number: number,
    private endMs: number,
    private readonly timers: Timers,
    private readonly onEnd: (reason: RdmaError) => void,
  ) {
    this.time();
  }

  /** The fencing number: higher than that of everyone who held before. It grows only by {@link raise}. */
  get term(): number {
    return this.number;
  }

  /** Aborted when the holding ends; its reason says why. */
  get signal(): AbortSignal {
    return this.over.signal;
  }

  /** Whether it is held now. Look before each act: a process may have been stopped since it last looked. */
  isHeld(): boolean {
    return this.reason === undefined && this.timers.now() < this.endMs;
  }

  /** For how long it is held if it is not renewed, in ms; 0: not any more. */
  leftMs(): number {
    return this.reason === undefined ? Math.max(0, this.endMs - this.timers.now()) : 0;
  }

  /** @throws RdmaError RDMA_ERR_CONFLICT when it is not held any more: somebody else may hold it, in a newer term */
  check(): void {
    if (this.isHeld()) return;
    const text = `term ${this.term} is over`;
    throw new RdmaError('RDMA_ERR_CONFLICT', text, this.reason === undefined ? {} : { cause: this.reason });
  }

  /**
   * Makes the term higher than one that somebody has seen: a store that has forgotten may have given it twice.
   *
   * @param above a term
   * @throws RdmaError RDMA_ERR_CONFLICT when it is not held any more
   */
  raise(above: number): Promise<void> {
    return this.lease.raise(this, above);
  }

  /** @internal Waits until it is renewed, or ends. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** @internal */
  extend(term: number, endMs: number): void {
    this.number = term;
    this.endMs = Math.max(this.endMs, endMs);
    this.cancelTimer();
    this.time();
    this.wakeWaiters();
  }

  /** @internal It could not be renewed in time. */
  end(): void {
    if (this.reason !== undefined) return;
    this.onEnd(new RdmaError('RDMA_ERR_TIMEOUT', `term ${this.term} could not be renewed in time`));
  }

  /** @internal */
  stop(reason: RdmaError): void {
    if (this.reason !== undefined) return;
    this.reason = reason;
    this.cancelTimer();
    this.over.abort(reason);
    this.wakeWaiters();
  }

  private wakeWaiters(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  private time(): void {
    this.cancelTimer = this.timers.after(Math.max(1, Math.ceil(this.leftMs())), () => {
      if (this.isHeld()) this.time();
      else this.end();
    });
  }
}
