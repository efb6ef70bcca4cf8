// The instances of a simulated fleet: when each starts, is ready, is given up and is gone, and the GPUs that it holds.
//
// Invariant: an instance holds its GPUs from its start until it is removed. Where decisions need time, one that is
// given up is held until its plan has drained; otherwise until its task is done.
import { readyAfterS } from './fleet.js';
import type { GatewayModel } from './gateway-model.js';
import { Held, type HeldSummary } from './held.js';
import type { Nodes } from './nodes.js';
import type { PlanDrain } from './plan-drain.js';
import type { Pool } from './pool.js';
import type { Run } from './run.js';
import { type Job, Worker } from './worker.js';

export class Instances {
  private readonly run: Run;
  private readonly nodes: Nodes;
  private readonly gateway: GatewayModel | undefined;
  private readonly held: Held;

  /** @param gateway undefined: each pool has a queue */
  constructor(run: Run, nodes: Nodes, gateway: GatewayModel | undefined) {
    this.run = run;
    this.nodes = nodes;
    this.gateway = gateway;
    this.held = new Held(run.trace.lengthS);
  }

  /** GPUs held by all pools, up to the end of the trace. */
  heldByAll(): HeldSummary {
    return this.held.summary();
  }

  /** An instance that is there from the beginning. The caller says that it is {@link ready}. */
  first(pool: Pool): Worker {
    const worker = this.hold(pool, 0);
    pool.wanted++;
    // They hold the models in turn.
    const { size } = pool.workers;
    const models = this.run.trace.models.length;
    for (let i = 0; i < pool.spec.resident; i++) worker.models.push((size - 1 + i * size) % models);
    worker.isCold = false;
    return worker;
  }

  /** An instance starts, and will be ready when it has loaded. */
  start(pool: Pool): void {
    const { fleet, timeline } = this.run;
    const reportS = fleet.delays?.reportS ?? 0;
    const worker = this.hold(pool, timeline.nowS + reportS + readyAfterS(pool.spec));
    if (pool.spec.resident > 0) worker.models.push(pool.firstModel());
    pool.loads++;
    timeline.add(worker.readyS, { type: 'ready', worker });
  }

  private hold(pool: Pool, readyS: number): Worker {
    const { gpus } = pool.spec;
    const { nowS } = this.run.timeline;
    const node = this.nodes.take(gpus);
    const worker = new Worker(pool.index, node, readyS);
    node.workers.add(worker);
    pool.workers.add(worker);
    pool.held.change(nowS, gpus);
    this.held.change(nowS, gpus);
    pool.starting.add(worker);
    return worker;
  }

  /** An instance has loaded and takes tasks from now on. One that was given up meanwhile gets none. */
  use(worker: Worker): void {
    const { pools, timeline } = this.run;
    const pool = pools[worker.pool]!;
    pool.starting.delete(worker);
    worker.isReady = true;
    worker.atS = timeline.nowS;
    if (!worker.isEnding) pool.openUp(worker);
  }

  /** The next plan of these pools begins, without the instances that leave: they are held until it has drained. */
  leave(pools: readonly Pool[], drain: PlanDrain): void {
    const leaving: Worker[] = [];
    for (const pool of pools) {
      for (const worker of this.leastUsed(pool, pool.leaving)) {
        this.willEnd(pool, worker);
        leaving.push(worker);
      }
      pool.leaving = 0;
    }
    if (leaving.length > 0) this.gateway?.changed();
    this.release(drain.change(leaving));
  }

  /** Gives instances up at once: those idle for longest first, then those that start, then those that work. */
  giveUp(pool: Pool, count: number): void {
    for (const worker of this.leastUsed(pool, count)) {
      if (worker.tasks.length === 0) this.remove(pool, worker);
      else this.willEnd(pool, worker);
    }
  }

  private leastUsed(pool: Pool, count: number): Worker[] {
    const idle = [...pool.open].filter(({ tasks }) => tasks.length === 0);
    const isIdle = new Set(idle);
    const others = [...pool.workers].filter((each) => !each.isEnding && !isIdle.has(each));
    others.sort((a, b) => Number(a.isReady) - Number(b.isReady));
    return [...idle, ...others].slice(0, count);
  }

  private willEnd(pool: Pool, worker: Worker): void {
    worker.isEnding = true;
    pool.ending++;
    pool.shut(worker);
  }

  /**
   * A request is under no plan any more: it has ended, or waits without an instance of its own.
   *
   * @returns its plan; undefined: it had none
   */
  leavePlan(job: Job): PlanDrain | undefined {
    const { drains } = this.run;
    if (drains === undefined || job.plan < 0) return undefined;
    const drain = drains[this.run.routeOf(job)[0]!.pool]!;
    this.release(drain.ended(job.plan));
    job.plan = -1;
    return drain;
  }

  // Instances that no plan needs any more are gone.
  private release(workers: readonly Worker[]): void {
    for (const worker of workers) if (!worker.isDead) this.remove(this.run.pools[worker.pool]!, worker);
  }

  /** An instance is gone, and its GPUs are free. */
  remove(pool: Pool, worker: Worker): void {
    const { gpus } = pool.spec;
    const { nowS } = this.run.timeline;
    worker.isDead = true;
    if (worker.isEnding) pool.ending--;
    pool.starting.delete(worker);
    pool.shut(worker);
    pool.workers.delete(worker);
    this.gateway?.remove(worker);
    worker.node.workers.delete(worker);
    this.nodes.give(worker.node, gpus);
    pool.held.change(nowS, -gpus);
    this.held.change(nowS, -gpus);
  }
}
