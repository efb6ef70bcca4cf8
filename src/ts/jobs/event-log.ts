// What happens to one job, as long as this process knows it.
//
// Invariant: bounded: of too many events the oldest are left out, never the outcome, which comes once and is the last.
import { abortError } from '../core/deadline.js';
import { onAbort } from '../core/abort.js';
import type { JobEvent } from './job.js';

/** An event before it has its number. */
export type NewEvent = Omit<JobEvent, 'number' | 'atMs'>;

/** @internal */
export class EventLog {
  private readonly events: JobEvent[] = [];
  private readonly waiting = new Set<() => void>();
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
    for (const waiter of [...this.waiting]) waiter();
  }

  /** The events behind this number. */
  after(number: number): JobEvent[] {
    return this.events.filter((event) => event.number > number);
  }

  /** Waits until something is added, or the log is left. @throws RdmaError RDMA_ERR_ABORTED */
  next(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(abortError(signal));
        return;
      }
      const end = () => {
        this.waiting.delete(wake);
        stop?.();
      };
      const wake = () => {
        end();
        resolve();
      };
      const stop =
        signal &&
        onAbort(signal, () => {
          end();
          reject(abortError(signal));
        });
      this.waiting.add(wake);
    });
  }
}
