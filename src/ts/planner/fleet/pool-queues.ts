// A queue for each pool: whoever is free takes the next request.
//
// Invariant: no ready worker with room is without a task while a request waits in its pool.
import type { Instances } from './instances.js';
import type { Pool } from './pool.js';
import { PoolForecast } from './pool-forecast.js';
import type { Queues } from './queues.js';
import type { Run } from './run.js';
import type { Scaler } from './scaler.js';
import type { Tasks } from './tasks.js';
import type { Job, Worker } from './worker.js';

export class PoolQueues implements Queues {
  private readonly run: Run;
  private readonly tasks: Tasks;
  private readonly instances: Instances;
  private readonly scaler: Scaler;
  private readonly forecast: PoolForecast;

  constructor(run: Run, tasks: Tasks, instances: Instances, scaler: Scaler) {
    this.run = run;
    this.tasks = tasks;
    this.instances = instances;
    this.scaler = scaler;
    this.forecast = new PoolForecast(run);
  }

  isHopeless(job: Job, deadlineS: number): boolean {
    return this.forecast.completionUs(job) > deadlineS * 1e6;
  }

  arrive(job: Job): void {
    this.enter(job);
  }

  enter(job: Job): void {
    const step = this.run.stepOf(job);
    const pool = this.run.pools[step.pool]!;
    job.workS = this.run.secondsOf(step, job.request);
    pool.arrived++;
    pool.asked(job.model);
    this.scaler.changed(pool);
    const worker = pool.queue.size === 0 ? pool.takerOf(job) : undefined;
    if (worker === undefined) pool.add(job, this.run.timeline.nowS);
    else this.tasks.start(pool, worker, job);
  }

  goOn(job: Job): boolean {
    const { timeline } = this.run;
    const route = this.run.routeOf(job);
    const { transferS } = route[job.step]!;
    job.step++;
    if (job.step >= route.length) return false;
    if (transferS > 0) timeline.add(timeline.nowS + transferS, { type: 'hop', job });
    else this.enter(job);
    return true;
  }

  drop(pool: Pool, job: Job): void {
    if (job.isWaiting) pool.drop(job);
  }

  taskGone(pool: Pool, worker: Worker, wasFull: boolean): void {
    if (worker.isDead) return; // it was ending, and held by the last request of its plan
    if (worker.isEnding) {
      if (worker.tasks.length > 0 || this.run.drains !== undefined) this.tasks.foretell(pool, worker);
      else this.instances.remove(pool, worker);
      return;
    }
    if (wasFull && worker.tasks.length < pool.spec.slots) pool.openUp(worker);
    this.tasks.foretell(pool, worker);
    this.fill(pool, worker);
  }

  ready(pool: Pool, worker: Worker): void {
    this.fill(pool, worker);
  }

  refill(pool: Pool): void {
    for (const worker of [...pool.open]) this.fill(pool, worker);
  }

  queuedAt(pool: Pool): number {
    return pool.queue.size;
  }

  // Gives a worker waiting jobs while it has room.
  private fill(pool: Pool, worker: Worker): void {
    const { nowS } = this.run.timeline;
    while (worker.tasks.length < pool.spec.slots && !worker.isEnding) {
      const job = pool.nextFor(worker, nowS);
      if (job === undefined) break;
      this.tasks.start(pool, worker, job);
    }
    if (worker.tasks.length === 0 && pool.spec.prefetch && pool.open.has(worker)) pool.prefetch(worker, nowS);
  }
}
