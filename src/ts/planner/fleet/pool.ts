// A pool in the simulation: its queue, its workers, and which worker takes which job.
//
// Invariant: `open` holds exactly the ready workers with room that are not ending, the one idle for longest first;
// `holders` holds the same workers by model. A waiting job is in the queue once.
import { RequestQueue } from '../../pipeline/request-queue.js';
import { firstState, type ScaleState } from '../scaling.js';
import type { PoolSpec } from './fleet.js';
import { Held } from './held.js';
import type { Job, Worker } from './worker.js';

export class Pool {
  readonly spec: PoolSpec;
  readonly index: number;
  readonly queue = new RequestQueue<Job>(() => 1, 1);
  readonly workers = new Set<Worker>();
  /** Those of `workers` that are not ready, in the same order; and how many of `workers` are ending. */
  readonly starting = new Set<Worker>();
  ending = 0;
  readonly open = new Set<Worker>();
  readonly held: Held;
  /** Where decisions need time: instances that are wanted, and those that leave with the change that is under way. */
  wanted = 0;
  leaving = 0;
  state: ScaleState = firstState(0);
  confirmed = 0;
  /** Since the last tick. */
  arrived = 0;
  served = 0;
  servedS = 0;
  /** Tasks that run, and seconds of work that wait. */
  running = 0;
  waitingS = 0;
  /** Behind one gateway: jobs that were given to workers and wait for their turn there. */
  given = 0;
  /** Weights that were loaded, by processes that start too; and adapters. */
  loads = 0;
  adapterLoads = 0;
  /** Nothing runs, waits or starts. */
  isAtRest = true;
  /** A tick of an earlier number does not count any more. */
  tickStamp = 0;
  nextTickS = Number.POSITIVE_INFINITY;
  private readonly holders = new Map<number, Set<Worker>>();
  private readonly waiting = new Map<number, Job[]>();
  private readonly demand: Float64Array;

  constructor(spec: PoolSpec, index: number, models: number, endS: number) {
    this.spec = spec;
    this.index = index;
    this.held = new Held(endS);
    this.demand = new Float64Array(spec.resident > 0 ? models : 0);
  }

  /** Whether a worker that already holds the model takes the job first. */
  private get hasAffinity(): boolean {
    return this.spec.resident > 0 && this.spec.affinity !== false;
  }

  /** Instances of the newest plan. */
  get planned(): number {
    return this.workers.size - this.ending - this.leaving;
  }

  openUp(worker: Worker): void {
    this.open.add(worker);
    for (const model of worker.models) {
      let set = this.holders.get(model);
      if (set === undefined) {
        set = new Set();
        this.holders.set(model, set);
      }
      set.add(worker);
    }
  }

  shut(worker: Worker): void {
    this.open.delete(worker);
    for (const model of worker.models) this.holders.get(model)?.delete(worker);
  }

  /**
   * A job begins at a worker, whose models change if it needs another one.
   *
   * @returns for how many seconds the worker loads before the job's work: an adapter, a model, what is left of a model
   */
  switchS(worker: Worker, job: Job, nowS: number): number {
    const { spec } = this;
    let switchS = job.hasAdapter ? spec.adapterS : 0;
    if (job.hasAdapter && spec.adapterS > 0) this.adapterLoads++;
    if (spec.resident === 0) return switchS;
    const { models } = worker;
    const at = models.indexOf(job.model);
    const waitS = Math.max(0, worker.prefetchUntilS - nowS);
    const isOpen = this.open.has(worker);
    if (isOpen) this.shut(worker);
    if (at >= 0) {
      models.splice(at, 1);
      switchS += waitS;
    } else {
      const isRelated = this.isRelated(models, job.model);
      if (models.length >= spec.resident) models.shift();
      switchS += isRelated ? spec.swapS : spec.loadS;
      this.loads++;
    }
    worker.prefetchUntilS = 0;
    models.push(job.model);
    if (isOpen) this.openUp(worker);
    return switchS;
  }

  private isRelated(models: readonly number[], model: number): boolean {
    const { families } = this.spec;
    return models.length === 0 || families === undefined || models.some((other) => families[other] === families[model]);
  }

  /** A worker with room and without a task loads the model that is wanted most, if it does not hold it. */
  prefetch(worker: Worker, nowS: number): void {
    const model = this.wantedModel();
    if (model < 0 || worker.models.includes(model)) return;
    this.shut(worker);
    if (worker.models.length >= this.spec.resident) worker.models.shift();
    worker.models.push(model);
    worker.prefetchUntilS = nowS + this.spec.swapS;
    this.loads++;
    this.openUp(worker);
  }

  /** The worker that takes a job now; undefined when none has room. */
  takerOf(job: Job): Worker | undefined {
    if (this.open.size === 0) return undefined;
    if (this.hasAffinity) {
      for (const worker of this.holders.get(job.model) ?? []) return worker;
    } else if (this.spec.slots > 1) {
      let best: Worker | undefined;
      for (const worker of this.open) if (best === undefined || worker.tasks.length < best.tasks.length) best = worker;
      return best;
    }
    for (const worker of this.open) return worker;
    return undefined;
  }

  /** A job waits. */
  add(job: Job, nowS: number): void {
    job.queuedAtUs = nowS * 1e6;
    job.chargeUs = Math.max(1, job.workS * 1e6);
    job.isWaiting = true;
    this.waitingS += job.workS;
    this.queue.add(job);
    this.note(job);
  }

  /** Jobs whose worker is gone wait again, before all others. */
  addAgain(jobs: readonly Job[]): void {
    for (const job of jobs) {
      job.isWaiting = true;
      this.waitingS += job.workS;
      this.note(job);
    }
    this.queue.addAgain(jobs);
  }

  /** The job that waits first, which waits no more. */
  take(): Job {
    return this.left(this.queue.shift()!);
  }

  /** A waiting job waits no more, as its deadline has passed. */
  drop(job: Job): void {
    if (this.queue.remove(job)) this.left(job);
  }

  private note(job: Job): void {
    if (this.spec.resident === 0) return;
    const list = this.waiting.get(job.model);
    if (list === undefined) this.waiting.set(job.model, [job]);
    else list.push(job);
  }

  /** The job that a worker takes next: the first one, or for a while one whose model it holds. */
  nextFor(worker: Worker, nowS: number): Job | undefined {
    const first = this.queue.first();
    if (first === undefined) return undefined;
    if (this.hasAffinity && !worker.models.includes(first.model)) {
      if (nowS - first.queuedAtUs / 1e6 < this.spec.patienceS) {
        for (const model of worker.models) {
          const job = this.firstOf(model);
          if (job !== undefined && this.queue.remove(job)) return this.left(job);
        }
      }
    }
    return this.left(this.queue.shift()!);
  }

  private firstOf(model: number): Job | undefined {
    const list = this.waiting.get(model);
    while (list !== undefined && list.length > 0) {
      const job = list[0]!;
      if (job.isWaiting) return job;
      list.shift();
    }
    return undefined;
  }

  private left(job: Job): Job {
    job.isWaiting = false;
    this.waitingS = Math.max(0, this.waitingS - job.workS);
    if (this.spec.resident > 0) {
      const list = this.waiting.get(job.model);
      if (list?.[0] === job) list.shift();
      if (list?.length === 0) this.waiting.delete(job.model);
    }
    return job;
  }

  /** Counts a request for a model; prefetching follows the last few hundred requests. */
  asked(model: number): void {
    const { demand } = this;
    if (demand.length === 0) return;
    if (this.spec.prefetch) for (let i = 0; i < demand.length; i++) demand[i]! *= 0.99;
    demand[model]! += 1;
  }

  /** The model that is asked for most, relative to the workers that hold it; -1: each has its share. */
  private wantedModel(): number {
    const { demand } = this;
    const held = new Float64Array(demand.length);
    let total = 0;
    for (const worker of this.workers) for (const model of worker.models) held[model]! += 1;
    for (const each of demand) total += each;
    let [best, most] = [-1, 1];
    for (let i = 0; i < demand.length; i++) {
      const short = (demand[i]! / total) * this.workers.size * this.spec.resident - held[i]!;
      if (short >= most) [best, most] = [i, short];
    }
    return best;
  }

  /** The model that a new worker loads. */
  firstModel(): number {
    const first = this.queue.first();
    if (first !== undefined) return first.model;
    let best = 0;
    for (let i = 1; i < this.demand.length; i++) if (this.demand[i]! > this.demand[best]!) best = i;
    return best;
  }
}
