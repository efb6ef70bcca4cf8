// What happens to one job, as long as this process knows it.
//
// Invariant: bounded: of too many events the oldest are left out, never the outcome, which comes once and is the last.
import type { JobEvent } from './job.js';
import { Wakers } from './wakers.js';

/** An event before it has its number. */
export type NewEvent = Omit<JobEvent, 'number' | 'atMs'>;

/** @internal */
export class EventLog {
  private readonly events: JobEvent[] = [];
  private readonly wakers = new Wakers();
  private last: number;
  private over = false;

  /**
   * @param before number of the event before the first: a log that goes on with another process's has larger numbers
   * @param maxEvents how many are kept
   */
  constructor(
    before: number,
    private readonly maxEvents: number,
    private readonly wallMs: () => number,
  ) {
    this.last = before;
  }

  /** True when the outcome is in it. */
  get isOver(): boolean {
    return this.over;
  }

  /** Adds an event; nothing is added behind the outcome. */
  add(event: NewEvent): void {
    if (this.over) return;
    this.over = event.type === 'done' || event.type === 'failed' || event.type === 'cancelled';
    this.events.push({ number: ++this.last, atMs: this.wallMs(), ...event });
    if (this.events.length > this.maxEvents) this.events.shift();
    this.wake();
  }

  /** This process knows the job no more: those who follow it look elsewhere. */
  wake(): void {
    this.wakers.wake();
  }

  /** The events behind this number. */
  after(number: number): JobEvent[] {
    return this.events.filter((event) => event.number > number);
  }

  /** Waits until something is added, or the log is left. @throws RdmaError RDMA_ERR_ABORTED */
  next(signal: AbortSignal | undefined): Promise<void> {
    return this.wakers.next(signal);
  }
}
