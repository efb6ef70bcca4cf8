// A fleet under a trace, as discrete events.
//
// Shipped code decides: `RequestQueue` the order, `scale` the number of instances, `forecast` the refusals.
// Modelled are what takes time (tasks, loading, switching, the way between stages), which free instance takes a task,
// and machines. Each stage has a queue of its own, or one gateway holds requests back as the shipped one does.
//
// Invariant: the same fleet, trace, seed and faults give the same result. Every request ends once: served, refused,
// or at its deadline.
import { randomOf } from '../random.js';
import type { Trace } from '../traces/trace.js';
import { FaultModel } from './fault-model.js';
import { type FaultRates, type FleetSpec, NO_FAULTS } from './fleet.js';
import { GatewayModel } from './gateway-model.js';
import { GatewayQueue } from './gateway-queue.js';
import { Instances } from './instances.js';
import { Nodes } from './nodes.js';
import { PoolQueues } from './pool-queues.js';
import type { Queues } from './queues.js';
import { Requests } from './requests.js';
import { resultOf, type SimulationResult } from './result.js';
import { Run } from './run.js';
import { Scaler } from './scaler.js';
import { Tasks } from './tasks.js';
import type { Event } from './timeline.js';
import type { Worker } from './worker.js';
import type { Workload } from './workload.js';

export interface SimulationInput {
  readonly fleet: FleetSpec;
  readonly trace: Trace;
  /** Of each request alone on warm instances, in seconds; for the ratio that an SLO bounds. */
  readonly bareS: Float64Array;
  /** A request is in time if its latency is at most this many times its bare time. */
  readonly sloFactor: number;
  readonly quantile: number;
  readonly maxRejected?: Workload['maxRejected'];
  readonly seed?: number;
  readonly faults?: FaultRates | undefined;
}

/** Runs a fleet to the end of the trace, and until the last request is done. */
export function simulate(input: SimulationInput): SimulationResult {
  return new Simulation(input).toEnd();
}

class Simulation {
  private readonly input: SimulationInput;
  private readonly run: Run;
  private readonly instances: Instances;
  private readonly scaler: Scaler;
  private readonly queues: Queues;
  private readonly requests: Requests;
  private readonly faults: FaultModel;

  constructor(input: SimulationInput) {
    const { fleet, trace, seed = 1, faults: rates = NO_FAULTS } = input;
    const draw = randomOf(seed);
    const nodes = new Nodes(draw, rates);
    const gateway = fleet.hasGateway === true ? new GatewayModel(fleet, rates) : undefined;
    const run = new Run(fleet, trace);
    const tasks = new Tasks(run);
    this.input = input;
    this.run = run;
    this.instances = new Instances(run, nodes, gateway);
    this.scaler = new Scaler(run, this.instances);
    const { instances, scaler } = this;
    this.queues =
      gateway === undefined
        ? new PoolQueues(run, tasks, instances, scaler)
        : new GatewayQueue(run, tasks, scaler, gateway);
    const { queues } = this;
    this.requests = new Requests(run, { tasks, queues, instances, scaler, gateway });
    this.faults = new FaultModel(run, { rates, draw }, tasks, nodes, instances, queues);
  }

  toEnd(): SimulationResult {
    const { timeline, trace, tally, pools } = this.run;
    this.begin();
    let next = 0;
    const { arrivalS } = trace;
    // To the end of the trace, as instances without work end there too.
    while (tally.left > 0 || timeline.nextS < trace.lengthS) {
      const atS = next < arrivalS.length ? arrivalS[next]! : Number.POSITIVE_INFINITY;
      if (atS <= timeline.nextS) {
        timeline.moveTo(atS);
        this.requests.arrive(next++);
        continue;
      }
      this.happen(timeline.take());
    }
    return resultOf({ input: this.input, tally, held: this.instances.heldByAll(), pools });
  }

  private begin(): void {
    for (const pool of this.run.pools) {
      const { fixed, policy } = pool.spec;
      for (let n = 0; n < (fixed ?? policy?.min ?? 0); n++) this.ready(this.instances.first(pool));
      if (policy !== undefined) this.scaler.tickLater(pool);
    }
    this.faults.begin();
  }

  private happen(event: Event): void {
    switch (event.type) {
      case 'task':
        if (event.stamp === event.worker.stamp && !event.worker.isDead) this.requests.taskEnds(event.worker);
        break;
      case 'ready':
        if (!event.worker.isDead) this.ready(event.worker);
        break;
      case 'hop':
        if (!event.job.isOver) this.queues.enter(event.job);
        break;
      case 'due':
        this.requests.due(event.job);
        break;
      case 'tick':
        if (event.stamp !== event.pool.tickStamp) break;
        if (this.faults.isStoreAway) this.scaler.tickLater(event.pool);
        else this.inUse(this.scaler.tick(event.pool, (pool) => this.queues.queuedAt(pool)));
        break;
      case 'death':
        this.faults.death();
        break;
      case 'outage':
        this.faults.outage(event.begins);
    }
  }

  private ready(worker: Worker): void {
    this.scaler.changed(this.run.pools[worker.pool]!);
    this.inUse(this.scaler.loaded(worker));
  }

  private inUse(workers: readonly Worker[]): void {
    for (const worker of workers) this.requests.inUse(worker);
  }
}
