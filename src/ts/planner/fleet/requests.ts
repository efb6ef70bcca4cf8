// The requests of a simulation, from their arrival to their end.
//
// Invariant: every request ends once. One that is over takes no instance, and nothing waits for it.
import type { GatewayModel } from './gateway-model.js';
import type { Instances } from './instances.js';
import type { Pool } from './pool.js';
import type { Queues } from './queues.js';
import type { Run } from './run.js';
import type { Scaler } from './scaler.js';
import type { TaskDone, Tasks } from './tasks.js';
import { Job, type Worker } from './worker.js';

export class Requests implements TaskDone {
  private readonly run: Run;
  private readonly tasks: Tasks;
  private readonly queues: Queues;
  private readonly instances: Instances;
  private readonly scaler: Scaler;
  private readonly gateway: GatewayModel | undefined;

  /** @param parts `gateway`: undefined: each pool has a queue */
  constructor(
    run: Run,
    parts: {
      readonly tasks: Tasks;
      readonly queues: Queues;
      readonly instances: Instances;
      readonly scaler: Scaler;
      readonly gateway: GatewayModel | undefined;
    },
  ) {
    this.run = run;
    this.tasks = parts.tasks;
    this.queues = parts.queues;
    this.instances = parts.instances;
    this.scaler = parts.scaler;
    this.gateway = parts.gateway;
  }

  /** A request of the trace arrives: it is taken or refused. */
  arrive(request: number): void {
    const { trace, fleet, pools, timeline, tally } = this.run;
    const { nowS } = timeline;
    const model = trace.model[request]!;
    const deadlineS = trace.deadlineS[request]!;
    const isTimed = deadlineS !== Number.POSITIVE_INFINITY;
    const untilS = isTimed ? nowS + deadlineS : deadlineS;
    const tenant = trace.tenants > 1 ? String(trace.tenant[request]) : '';
    const job = new Job(request, model, tenant, untilS, trace.hasAdapter[request] === 1);
    if (this.gateway !== undefined) job.units = trace.units[request]!;
    const first = pools[fleet.routes[model]![0]!.pool]!;
    if (first.queue.size >= fleet.maxQueued || (isTimed && this.queues.isHopeless(job, deadlineS))) {
      tally.refused(request);
      return;
    }
    if (isTimed) {
      // A gateway ends it as soon as it waits too long for what it takes alone.
      const aloneS = this.gateway?.aloneS(job) ?? 0;
      timeline.add(Math.max(nowS, untilS - aloneS), { type: 'due', job });
    }
    this.queues.arrive(job);
  }

  /** Tasks of a worker have come to their end. */
  taskEnds(worker: Worker): void {
    const wasFull = this.tasks.end(worker, this);
    this.queues.taskGone(this.run.pools[worker.pool]!, worker, wasFull);
  }

  /** A request has done its present step. */
  done(pool: Pool, job: Job): void {
    this.scaler.changed(pool);
    if (this.queues.goOn(job)) {
      // Without a gateway nobody has chosen an instance for a request that waits, so it holds none.
      if (this.gateway === undefined && job.worker === undefined) this.leavePlan(job);
      return;
    }
    const latencyS = this.run.timeline.nowS - this.run.trace.arrivalS[job.request]!;
    this.run.tally.served(job.request, latencyS);
    this.settle(job, latencyS);
    this.leave(job);
  }

  /** A request is at its deadline, or waits too long for it. */
  due(job: Job): void {
    if (job.isOver) return;
    const { timeline } = this.run;
    const untilS = job.deadlineUs / 1e6;
    if (job.admitted !== undefined && timeline.nowS < untilS) timeline.add(untilS, { type: 'due', job });
    else this.expire(job);
  }

  // Its deadline has passed: it waits no more, and its task stops.
  private expire(job: Job): void {
    const { pools, timeline, trace, tally } = this.run;
    const restS = job.admitted === undefined ? (this.gateway?.aloneS(job) ?? 0) : 0;
    this.settle(job, timeline.nowS + restS - trace.arrivalS[job.request]!);
    tally.late(job.request);
    const { worker } = job;
    const pool = pools[this.run.stepOf(job).pool]!;
    if (worker !== undefined) {
      const wasFull = this.tasks.stop(pool, worker, job);
      this.leave(job);
      this.queues.taskGone(pool, worker, wasFull);
      return;
    }
    this.queues.drop(pool, job);
    this.leave(job);
    if (this.gateway !== undefined) this.queues.refill(pool);
  }

  // What became of a forecast.
  private settle({ expectation }: Job, tookS: number): void {
    if (expectation !== undefined) this.gateway!.settled(expectation, tookS);
  }

  private leave(job: Job): void {
    job.isOver = true;
    if (job.admitted !== undefined) this.gateway!.ended(job);
    this.leavePlan(job);
  }

  private leavePlan(job: Job): void {
    const drain = this.instances.leavePlan(job);
    if (drain?.isDrained === true) this.scaler.drained(drain);
  }

  /** A worker takes tasks from now on. */
  inUse(worker: Worker): void {
    const pool = this.run.pools[worker.pool]!;
    this.scaler.changed(pool);
    if (!worker.isEnding) this.queues.ready(pool, worker);
  }
}
