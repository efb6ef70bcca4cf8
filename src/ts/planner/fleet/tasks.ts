// Tasks on instances: when each begins and ends, what it loads before, and the GPU time that it takes.
//
// Invariant: a worker has one event to come that counts, the end of the first of its tasks; each change of its tasks
// makes the ones before stale. `running` of a pool is the number of its tasks.
import type { Pool } from './pool.js';
import type { Run } from './run.js';
import type { Job, Worker } from './worker.js';

/** A task is done when no more than this is left of it. */
const EPSILON_S = 1e-9;

/** What goes on when a task is done. */
export interface TaskDone {
  /** A job has done the task of its present step, in `pool`. */
  done(pool: Pool, job: Job): void;
}

export class Tasks {
  private readonly run: Run;

  constructor(run: Run) {
    this.run = run;
  }

  /** A job begins at a worker with room. */
  start(pool: Pool, worker: Worker, job: Job): void {
    const { spec } = pool;
    const { timeline, drains, tally } = this.run;
    const { nowS } = timeline;
    worker.moveOn(nowS);
    const switchS = pool.switchS(worker, job, nowS);
    job.leftS = job.workS + switchS;
    job.isWarm = !worker.isCold && switchS <= spec.adapterS;
    worker.isCold = false;
    worker.tasks.push(job);
    job.worker = worker;
    if (drains !== undefined && job.plan < 0) job.plan = drains[pool.index]!.begun();
    pool.running++;
    tally.began(job.workS, switchS, spec.gpus);
    if (worker.tasks.length >= spec.slots) pool.shut(worker);
    this.foretell(pool, worker);
  }

  /** A worker's tasks have changed: says when the first of them ends. */
  foretell(pool: Pool, worker: Worker): void {
    const { timeline } = this.run;
    const atS = worker.nextEndS(timeline.nowS, pool.spec.gain);
    if (atS !== undefined) timeline.add(atS, { type: 'task', worker, stamp: worker.stamp });
  }

  /**
   * Ends those tasks of a worker that have done all their work.
   *
   * @param next gets each, when it is gone from the worker
   * @returns whether the worker had no room before
   */
  end(worker: Worker, next: TaskDone): boolean {
    const { pools, timeline } = this.run;
    const { nowS } = timeline;
    const pool = pools[worker.pool]!;
    const { tasks } = worker;
    const wasFull = tasks.length >= pool.spec.slots;
    const elapsedS = nowS - worker.atS;
    const wasAlone = tasks.length === 1;
    worker.moveOn(nowS);
    const relative = EPSILON_S * Math.max(1, nowS);
    for (let i = tasks.length - 1; i >= 0; i--) {
      const job = tasks[i]!;
      if (job.leftS > relative) continue;
      tasks.splice(i, 1);
      pool.running--;
      if (job.isWarm) {
        pool.served++;
        pool.servedS += wasAlone && elapsedS > 0 ? elapsedS : job.workS;
      }
      job.worker = undefined;
      next.done(pool, job);
    }
    return wasFull;
  }

  /** A job's task stops before its end. @returns whether its worker had no room before */
  stop(pool: Pool, worker: Worker, job: Job): boolean {
    worker.moveOn(this.run.timeline.nowS);
    const wasFull = worker.tasks.length >= pool.spec.slots;
    worker.tasks.splice(worker.tasks.indexOf(job), 1);
    pool.running--;
    job.worker = undefined;
    this.run.tally.stopped(Math.max(0, Math.min(job.workS, job.leftS)), pool.spec.gpus);
    return wasFull;
  }

  /** The tasks of a worker that dies are gone. @returns their jobs, which have to begin again */
  lose(pool: Pool, worker: Worker): readonly Job[] {
    const jobs = worker.tasks.splice(0);
    pool.running -= jobs.length;
    for (const job of jobs) job.worker = undefined;
    return jobs;
  }
}
