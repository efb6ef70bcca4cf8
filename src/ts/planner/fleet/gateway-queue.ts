// One queue before all pools: a request waits until the gateway has chosen an instance for each of its steps.
//
// Invariant: requests leave the queue in its order. A job that was given to an instance waits there for its turn, and
// `given` of a pool is how many do.
import type { GatewayModel } from './gateway-model.js';
import type { Pool } from './pool.js';
import type { Queues } from './queues.js';
import type { Run } from './run.js';
import type { Scaler } from './scaler.js';
import type { Tasks } from './tasks.js';
import type { Job, Worker } from './worker.js';

export class GatewayQueue implements Queues {
  private readonly run: Run;
  private readonly tasks: Tasks;
  private readonly scaler: Scaler;
  private readonly gateway: GatewayModel;
  /** The one whose queue is the gateway's. */
  private readonly first: Pool;

  constructor(run: Run, tasks: Tasks, scaler: Scaler, gateway: GatewayModel) {
    this.run = run;
    this.tasks = tasks;
    this.scaler = scaler;
    this.gateway = gateway;
    this.first = run.pools[0]!;
  }

  isHopeless(job: Job): boolean {
    return !this.gateway.isExpected(job, this.first.queue, this.run.timeline.nowS);
  }

  arrive(job: Job): void {
    const route = this.run.routeOf(job);
    for (const step of route) {
      const pool = this.run.pools[step.pool]!;
      pool.arrived++;
      this.scaler.changed(pool);
    }
    job.workS = this.run.secondsOf(route[0]!, job.request);
    this.first.add(job, this.run.timeline.nowS);
    this.admitWaiting();
  }

  private admitWaiting(): void {
    const { first } = this;
    while (first.queue.size > 0) {
      const admitted = this.gateway.admit(first.queue.first()!, this.run.timeline.nowS);
      if (admitted === undefined) return;
      const job = first.take();
      job.admitted = admitted;
      this.enter(job);
    }
  }

  // It comes to the worker that was chosen for its step.
  enter(job: Job): void {
    const step = this.run.stepOf(job);
    const pool = this.run.pools[step.pool]!;
    const worker = this.gateway.workerOf(job.admitted!, job.step);
    job.workS = this.run.secondsOf(step, job.request);
    if (worker.tasks.length < pool.spec.slots) this.tasks.start(pool, worker, job);
    else {
      worker.given.push(job);
      pool.given++;
      pool.waitingS += job.workS;
    }
  }

  goOn(job: Job): boolean {
    this.gateway.done(job, job.step, this.run.timeline.nowS);
    job.step++;
    if (job.step >= this.run.routeOf(job).length) return false;
    this.enter(job);
    return true;
  }

  drop(pool: Pool, job: Job): void {
    if (job.isWaiting) {
      pool.drop(job);
      return;
    }
    if (job.admitted === undefined) return;
    const { given } = this.gateway.workerOf(job.admitted, job.step);
    const at = given.indexOf(job);
    if (at < 0) return;
    given.splice(at, 1);
    this.isTaken(pool, job);
  }

  private isTaken(pool: Pool, job: Job): void {
    pool.given--;
    pool.waitingS = Math.max(0, pool.waitingS - job.workS);
  }

  taskGone(pool: Pool, worker: Worker, wasFull: boolean): void {
    if (!worker.isDead) {
      if (wasFull && worker.tasks.length < pool.spec.slots && !worker.isEnding) pool.openUp(worker);
      this.tasks.foretell(pool, worker);
      this.takeGiven(pool, worker);
    }
    this.admitWaiting();
  }

  private takeGiven(pool: Pool, worker: Worker): void {
    while (worker.tasks.length < pool.spec.slots && worker.given.length > 0) {
      const job = worker.given.shift()!;
      this.isTaken(pool, job);
      this.tasks.start(pool, worker, job);
    }
  }

  ready(_pool: Pool, worker: Worker): void {
    this.gateway.add(worker);
    this.admitWaiting();
  }

  refill(): void {
    this.admitWaiting();
  }

  // What waits counts at the stages that hold it up: see cluster/gateway-load.ts.
  queuedAt(pool: Pool): number {
    const waiting = this.first.queue.size;
    if (waiting === 0) return pool.given;
    const fullness = this.run.pools.map(({ workers, spec }) => {
      let least = 1;
      for (const { isReady, isEnding, tasks, given } of workers) {
        if (isReady && !isEnding) least = Math.min(least, (tasks.length + given.length) / spec.slots);
      }
      return least;
    });
    return pool.given + (fullness[pool.index] === Math.max(...fullness) ? waiting : 0);
  }
}
