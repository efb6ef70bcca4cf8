// Where requests wait, and which instance takes each: a queue for each pool, or one gateway before all of them.
//
// Invariant: a request is in one place: it waits, is on its way, or has a task.
import type { Pool } from './pool.js';
import type { Job, Worker } from './worker.js';

export interface Queues {
  /** By the shipped forecast a newcomer with this deadline, in s from now, would be late. */
  isHopeless(job: Job, deadlineS: number): boolean;
  /** A newcomer was taken. */
  arrive(job: Job): void;
  /** A request comes to its present step. */
  enter(job: Job): void;
  /** A request has done its step and goes on to the next one. @returns false: it was the last */
  goOn(job: Job): boolean;
  /** A request without a task is about to end: it waits no more. */
  drop(pool: Pool, job: Job): void;
  /** Tasks of a worker are gone. @param wasFull it had no room before */
  taskGone(pool: Pool, worker: Worker, wasFull: boolean): void;
  /** A worker is ready. */
  ready(pool: Pool, worker: Worker): void;
  /** Requests that wait take whatever room there is for them. */
  refill(pool: Pool): void;
  /** How many requests wait at a pool, as its scale policy counts them. */
  queuedAt(pool: Pool): number;
}
