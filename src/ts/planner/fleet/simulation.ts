// A fleet under a trace, as discrete events.
//
// Shipped code decides: `RequestQueue` the order, `scale` the number of instances, `forecast` the refusals.
// Modelled are what takes time (tasks, loading, switching, the way between stages), which free instance takes a task,
// and machines. Each stage has a queue of its own, or one gateway holds requests back as the shipped one does.
//
// Invariant: the same fleet, trace, seed and faults give the same result. Every request ends once: served, refused,
// or at its deadline.
import { forecast, type StageAhead } from '../../pipeline/forecast.js';
import { taskSeconds } from '../profiles/costs.js';
import { randomOf, exponential } from '../random.js';
import { scale } from '../scaling.js';
import type { Trace } from '../traces/trace.js';
import { EventHeap } from './event-heap.js';
import { GatewayModel } from './gateway-model.js';
import { type FaultRates, type FleetSpec, NO_FAULTS, type PoolSpec, type StepSpec } from './fleet.js';
import { Held } from './held.js';
import { Nodes, type SimNode } from './nodes.js';
import { PlanDrain, plansOf } from './plan-drain.js';
import { Pool } from './pool.js';
import { Job, Worker } from './worker.js';
import { resultOf, type SimulationResult } from './result.js';

/** How often a policy without work and workers is asked; and how soon, once something comes. */
const AT_REST_S = 60;
const WOKEN_S = 1;
/** A task is done when no more than this is left of it. */
const EPSILON_S = 1e-9;

export interface SimulationInput {
  readonly fleet: FleetSpec;
  readonly trace: Trace;
  /** Of each request alone on warm instances, in seconds; for the ratio that an SLO bounds. */
  readonly bareS: Float64Array;
  /** A request is in time if its latency is at most this many times its bare time. */
  readonly sloFactor: number;
  readonly quantile: number;
  readonly seed?: number;
  readonly faults?: FaultRates | undefined;
}

type Event =
  | { readonly type: 'task'; readonly worker: Worker; readonly stamp: number }
  | { readonly type: 'ready'; readonly worker: Worker }
  | { readonly type: 'hop'; readonly job: Job }
  | { readonly type: 'due'; readonly job: Job }
  | { readonly type: 'tick'; readonly pool: Pool; readonly stamp: number }
  | { readonly type: 'death' }
  | { readonly type: 'outage'; readonly begins: boolean };

/** Runs a fleet to the end of the trace, and until the last request is done. */
export function simulate(input: SimulationInput): SimulationResult {
  return new Simulation(input).run();
}

class Simulation {
  private readonly fleet: FleetSpec;
  private readonly trace: Trace;
  private readonly input: SimulationInput;
  private readonly faults: FaultRates;
  private readonly events = new EventHeap<Event>();
  private readonly pools: Pool[];
  private readonly nodes: Nodes;
  private readonly draw: () => number;
  private readonly held: Held;
  private readonly latencyS: Float64Array;
  /** By model, for each step the one before it; -1: the request itself. */
  private readonly before: readonly (readonly (readonly number[])[])[];
  private nowS = 0;
  private left: number;
  private isStoreAway = false;
  /** By pool; pools of one plan have the same. undefined: decisions take effect at once. */
  private readonly drains: readonly PlanDrain[] | undefined;
  /** undefined: each pool has a queue. */
  private readonly gateway: GatewayModel | undefined;
  private readonly counts = {
    rejected: 0,
    expired: 0,
    deaths: 0,
    actions: 0,
    again: 0,
  };
  private busyGpuS = 0;
  private switchGpuS = 0;

  constructor(input: SimulationInput) {
    const { fleet, trace, seed = 1, faults = NO_FAULTS } = input;
    this.input = input;
    this.fleet = fleet;
    this.trace = trace;
    this.faults = faults;
    this.draw = randomOf(seed);
    this.nodes = new Nodes(this.draw, faults);
    this.held = new Held(trace.lengthS);
    this.pools = fleet.pools.map((spec, i) => new Pool(spec, i, trace.models.length, trace.lengthS));
    this.latencyS = new Float64Array(trace.arrivalS.length);
    this.left = trace.arrivalS.length;
    this.drains = fleet.delays === undefined ? undefined : drainsOf(fleet);
    this.gateway = fleet.hasGateway === true ? new GatewayModel(fleet, faults) : undefined;
    this.before = fleet.routes.map((route) => route.map((_, i) => [i - 1]));
  }

  run(): SimulationResult {
    const { events, trace } = this;
    this.begin();
    let next = 0;
    const { arrivalS } = trace;
    // To the end of the trace, as instances without work end there too.
    while (this.left > 0 || events.nextS < trace.lengthS) {
      const atS = next < arrivalS.length ? arrivalS[next]! : Number.POSITIVE_INFINITY;
      if (atS <= events.nextS) {
        this.nowS = atS;
        this.arrive(next++);
        continue;
      }
      this.nowS = events.nextS;
      this.happen(events.take());
    }
    return resultOf({
      input: this.input,
      latencyS: this.latencyS,
      held: this.held.summary(),
      pools: this.pools,
      counts: this.counts,
      busyGpuS: this.busyGpuS,
      switchGpuS: this.switchGpuS,
    });
  }

  private begin(): void {
    const { events, faults } = this;
    for (const pool of this.pools) {
      for (let n = 0; n < (pool.spec.fixed ?? pool.spec.policy?.min ?? 0); n++) this.startWorker(pool, true);
      if (pool.spec.policy !== undefined) this.tickLater(pool);
    }
    if (faults.nodeDeathsPerHour > 0) this.deathLater();
    if (faults.storeOutagesPerHour > 0) {
      events.add(exponential(this.draw, 3600 / faults.storeOutagesPerHour), { type: 'outage', begins: true });
    }
  }

  private happen(event: Event): void {
    switch (event.type) {
      case 'task':
        if (event.stamp === event.worker.stamp && !event.worker.isDead) this.taskEnds(event.worker);
        break;
      case 'ready':
        if (!event.worker.isDead) this.ready(event.worker);
        break;
      case 'hop':
        if (!event.job.isOver) this.enter(event.job);
        break;
      case 'due':
        this.isDue(event.job);
        break;
      case 'tick':
        if (event.stamp === event.pool.tickStamp) this.tick(event.pool);
        break;
      case 'death':
        this.nodeDies();
        this.deathLater();
        break;
      case 'outage':
        this.outage(event.begins);
    }
  }

  // ---- requests

  private arrive(request: number): void {
    const { trace, fleet } = this;
    const model = trace.model[request]!;
    const route = fleet.routes[model]!;
    const deadlineS = trace.deadlineS[request]!;
    const untilS = deadlineS === Number.POSITIVE_INFINITY ? deadlineS : this.nowS + deadlineS;
    const tenant = trace.tenants > 1 ? String(trace.tenant[request]) : '';
    const job = new Job(request, model, tenant, untilS, trace.hasAdapter[request] === 1);
    const first = this.pools[route[0]!.pool]!;
    if (this.gateway !== undefined) job.units = trace.units[request]!;
    if (
      first.queue.size >= fleet.maxQueued ||
      (untilS !== Number.POSITIVE_INFINITY && this.isHopeless(job, deadlineS, first))
    ) {
      this.counts.rejected++;
      this.latencyS[request] = Number.NaN;
      this.left--;
      return;
    }
    if (untilS !== Number.POSITIVE_INFINITY) {
      // A gateway ends it as soon as it waits too long for what it takes alone.
      const aloneS = this.gateway?.aloneS(job) ?? 0;
      this.events.add(Math.max(this.nowS, untilS - aloneS), { type: 'due', job });
    }
    if (this.gateway === undefined) {
      this.enter(job);
      return;
    }
    for (const step of route) {
      const pool = this.pools[step.pool]!;
      pool.arrived++;
      this.changed(pool);
    }
    job.workS = this.secondsOf(route[0]!, request);
    first.add(job, this.nowS);
    this.admitWaiting();
  }

  // ---- behind one gateway

  private admitWaiting(): void {
    const [first] = this.pools;
    while (first!.queue.size > 0) {
      const admitted = this.gateway!.admit(first!.queue.first()!, this.nowS);
      if (admitted === undefined) return;
      const job = first!.take();
      job.admitted = admitted;
      this.give(job);
    }
  }

  // The job comes to the worker that was chosen for its step.
  private give(job: Job): void {
    const step = this.fleet.routes[job.model]![job.step]!;
    const pool = this.pools[step.pool]!;
    const worker = this.gateway!.workerOf(job.admitted!, job.step);
    job.workS = this.secondsOf(step, job.request);
    if (worker.tasks.length < pool.spec.slots) this.start(pool, worker, job);
    else {
      worker.given.push(job);
      pool.given++;
      pool.waitingS += job.workS;
    }
  }

  private takeGiven(pool: Pool, worker: Worker): void {
    while (worker.tasks.length < pool.spec.slots && worker.given.length > 0) {
      const job = worker.given.shift()!;
      pool.given--;
      pool.waitingS = Math.max(0, pool.waitingS - job.workS);
      this.start(pool, worker, job);
    }
  }

  // What waits counts at the stages that hold it up: see cluster/gateway-load.ts.
  private queuedAt(pool: Pool): number {
    if (this.gateway === undefined) return pool.queue.size;
    const waiting = this.pools[0]!.queue.size;
    if (waiting === 0) return pool.given;
    const fullness = this.pools.map(({ workers, spec }) => {
      let least = 1;
      for (const { isReady, isEnding, tasks, given } of workers) {
        if (isReady && !isEnding) least = Math.min(least, (tasks.length + given.length) / spec.slots);
      }
      return least;
    });
    return pool.given + (fullness[pool.index] === Math.max(...fullness) ? waiting : 0);
  }

  private isDue(job: Job): void {
    if (job.isOver) return;
    const untilS = job.deadlineUs / 1e6;
    if (job.admitted !== undefined && this.nowS < untilS) this.events.add(untilS, { type: 'due', job });
    else this.expire(job);
  }

  // Its deadline has passed: it waits no more, and its task stops.
  private expire(job: Job): void {
    this.counts.expired++;
    if (job.expectation !== undefined) {
      const restS = job.admitted === undefined ? this.gateway!.aloneS(job) : 0;
      this.gateway!.settled(job.expectation, this.nowS + restS - this.trace.arrivalS[job.request]!);
    }
    this.latencyS[job.request] = Number.NaN;
    const { worker } = job;
    const pool = this.pools[this.fleet.routes[job.model]![job.step]!.pool]!;
    if (worker !== undefined) {
      worker.moveOn(this.nowS);
      const wasFull = worker.tasks.length >= pool.spec.slots;
      worker.tasks.splice(worker.tasks.indexOf(job), 1);
      pool.running--;
      job.worker = undefined;
      this.busyGpuS -= Math.max(0, Math.min(job.workS, job.leftS)) * pool.spec.gpus;
      this.leave(job);
      this.tasksLeft(pool, worker, wasFull);
    } else {
      if (job.isWaiting) pool.drop(job);
      else if (job.admitted !== undefined) {
        const { given } = this.gateway!.workerOf(job.admitted, job.step);
        const at = given.indexOf(job);
        if (at >= 0) {
          given.splice(at, 1);
          pool.given--;
          pool.waitingS = Math.max(0, pool.waitingS - job.workS);
        }
      }
      this.leave(job);
      if (this.gateway !== undefined) this.admitWaiting();
    }
  }

  private leave(job: Job): void {
    job.isOver = true;
    this.left--;
    if (job.admitted !== undefined) this.gateway!.ended(job);
    if (this.drains === undefined || job.plan < 0) return;
    const first = this.fleet.routes[job.model]![0]!;
    const drain = this.drains[first.pool]!;
    this.release(drain.ended(job.plan));
    if (!drain.isDrained) return;
    for (const pool of this.pools) {
      if (pool.confirmed < pool.state.actions && this.drains[pool.index] === drain) this.changed(pool);
    }
  }

  // Workers that no plan needs any more end.
  private release(workers: readonly Worker[]): void {
    for (const worker of workers) if (!worker.isDead) this.removeWorker(this.pools[worker.pool]!, worker);
  }

  // The shipped forecast, of the work that is ahead in each pool on the way.
  private isHopeless(job: Job, deadlineS: number, first: Pool): boolean {
    if (this.gateway !== undefined) return !this.gateway.isExpected(job, first.queue, this.nowS);
    const route = this.fleet.routes[job.model]!;
    const ahead = route.map((step): StageAhead => {
      const pool = this.pools[step.pool]!;
      const ownS = this.secondsOf(step, job.request);
      const startingUs: number[] = [];
      for (const worker of pool.starting) startingUs.push((worker.readyS - this.nowS) * 1e6);
      if (pool.workers.size === 0 && pool.spec.policy !== undefined) startingUs.push(readyAfterS(pool.spec) * 1e6);
      const servers = (pool.workers.size - pool.starting.size) * pool.spec.slots;
      const workUs = (pool.waitingS + (pool.running * ownS) / 2) * 1e6;
      return { workUs: pool.open.size > 0 ? 0 : workUs, servers, startingUs, ownUs: ownS * 1e6 };
    });
    return forecast(this.before[job.model]!, ahead, 0).completionUs > deadlineS * 1e6;
  }

  private secondsOf(step: StepSpec, request: number): number {
    return taskSeconds(step, this.trace.units[request]!, this.trace.outputUnits[request]!);
  }

  /** A request comes to the pool of its present step. */
  private enter(job: Job): void {
    const step = this.fleet.routes[job.model]![job.step]!;
    const pool = this.pools[step.pool]!;
    job.workS = this.secondsOf(step, job.request);
    pool.arrived++;
    pool.asked(job.model);
    this.changed(pool);
    const worker = pool.queue.size === 0 ? pool.takerOf(job) : undefined;
    if (worker === undefined) pool.add(job, this.nowS);
    else this.start(pool, worker, job);
  }

  private start(pool: Pool, worker: Worker, job: Job): void {
    const { spec } = pool;
    worker.moveOn(this.nowS);
    const switchS = pool.switchS(worker, job, this.nowS);
    job.leftS = job.workS + switchS;
    job.isWarm = !worker.isCold && switchS <= spec.adapterS;
    worker.isCold = false;
    worker.tasks.push(job);
    job.worker = worker;
    if (this.drains !== undefined && job.plan < 0) job.plan = this.drains[pool.index]!.begun();
    pool.running++;
    this.switchGpuS += switchS * spec.gpus;
    this.busyGpuS += job.workS * spec.gpus;
    if (worker.tasks.length >= spec.slots) pool.shut(worker);
    this.nextEnd(pool, worker);
  }

  // ---- workers

  private nextEnd(pool: Pool, worker: Worker): void {
    const atS = worker.nextEndS(this.nowS, pool.spec.gain);
    if (atS !== undefined) this.events.add(atS, { type: 'task', worker, stamp: worker.stamp });
  }

  private taskEnds(worker: Worker): void {
    const pool = this.pools[worker.pool]!;
    const { tasks } = worker;
    const wasFull = tasks.length >= pool.spec.slots;
    const elapsedS = this.nowS - worker.atS;
    const wasAlone = tasks.length === 1;
    worker.moveOn(this.nowS);
    const relative = EPSILON_S * Math.max(1, this.nowS);
    for (let i = tasks.length - 1; i >= 0; i--) {
      const job = tasks[i]!;
      if (job.leftS > relative) continue;
      tasks.splice(i, 1);
      this.done(pool, job, wasAlone && elapsedS > 0 ? elapsedS : job.workS);
    }
    this.tasksLeft(pool, worker, wasFull);
  }

  // Some of its tasks are gone.
  private tasksLeft(pool: Pool, worker: Worker, wasFull: boolean): void {
    if (this.gateway !== undefined) {
      if (!worker.isDead) {
        if (wasFull && worker.tasks.length < pool.spec.slots && !worker.isEnding) pool.openUp(worker);
        this.nextEnd(pool, worker);
        this.takeGiven(pool, worker);
      }
      this.admitWaiting();
      return;
    }
    if (worker.isDead) return; // it was ending, and held by the last request of its plan
    if (worker.isEnding) {
      if (worker.tasks.length > 0 || this.drains !== undefined) this.nextEnd(pool, worker);
      else this.removeWorker(pool, worker);
      return;
    }
    if (wasFull && worker.tasks.length < pool.spec.slots) pool.openUp(worker);
    this.nextEnd(pool, worker);
    this.fill(pool, worker);
  }

  private done(pool: Pool, job: Job, tookS: number): void {
    pool.running--;
    this.changed(pool);
    if (job.isWarm) {
      pool.served++;
      pool.servedS += tookS;
    }
    const route = this.fleet.routes[job.model]!;
    const { transferS } = route[job.step]!;
    job.worker = undefined;
    if (job.admitted !== undefined) this.gateway!.done(job, job.step, this.nowS);
    job.step++;
    if (job.step < route.length) {
      if (this.gateway !== undefined) this.give(job);
      else if (transferS > 0) this.events.add(this.nowS + transferS, { type: 'hop', job });
      else this.enter(job);
      return;
    }
    const latencyS = this.nowS - this.trace.arrivalS[job.request]!;
    this.latencyS[job.request] = latencyS;
    if (job.expectation !== undefined) this.gateway!.settled(job.expectation, latencyS);
    this.leave(job);
  }

  // Gives a worker waiting jobs while it has room.
  private fill(pool: Pool, worker: Worker): void {
    while (worker.tasks.length < pool.spec.slots && !worker.isEnding) {
      const job = pool.nextFor(worker, this.nowS);
      if (job === undefined) break;
      this.start(pool, worker, job);
    }
    if (worker.tasks.length === 0 && pool.spec.prefetch && pool.open.has(worker)) pool.prefetch(worker, this.nowS);
  }

  private startWorker(pool: Pool, isThere = false): void {
    const { spec } = pool;
    const node = this.nodes.take(spec.gpus);
    const reportS = this.fleet.delays?.reportS ?? 0;
    const worker = new Worker(pool.index, node, isThere ? 0 : this.nowS + reportS + readyAfterS(spec));
    node.workers.add(worker);
    pool.workers.add(worker);
    pool.held.change(this.nowS, spec.gpus);
    this.held.change(this.nowS, spec.gpus);
    pool.starting.add(worker);
    if (spec.resident > 0) {
      // Those that are there from the beginning hold the models in turn.
      const models = this.trace.models.length;
      for (let i = 0; i < spec.resident; i++) {
        if (isThere) worker.models.push((pool.workers.size - 1 + i * pool.workers.size) % models);
        else if (i === 0) worker.models.push(pool.firstModel());
      }
    }
    if (isThere) {
      worker.isCold = false;
      this.ready(worker);
      return;
    }
    pool.loads++;
    this.events.add(worker.readyS, { type: 'ready', worker });
  }

  private ready(worker: Worker): void {
    const pool = this.pools[worker.pool]!;
    pool.starting.delete(worker);
    worker.isReady = true;
    this.changed(pool);
    worker.atS = this.nowS;
    if (worker.isEnding) return; // it was not wanted any more before it was ready
    if (pool.starting.size === 0) this.drains?.[pool.index]?.change([]);
    pool.openUp(worker);
    if (this.gateway === undefined) this.fill(pool, worker);
    else {
      this.gateway.add(worker);
      this.admitWaiting();
    }
  }

  private removeWorker(pool: Pool, worker: Worker): void {
    const { gpus } = pool.spec;
    worker.isDead = true;
    if (worker.isEnding) pool.ending--;
    pool.starting.delete(worker);
    pool.shut(worker);
    pool.workers.delete(worker);
    this.gateway?.remove(worker);
    worker.node.workers.delete(worker);
    this.nodes.give(worker.node, gpus);
    pool.held.change(this.nowS, -gpus);
    this.held.change(this.nowS, -gpus);
  }

  // ---- scaling

  // Something has changed in a pool: its policy is asked at the next tick.
  private changed(pool: Pool): void {
    if (pool.spec.policy === undefined) return;
    const { tickS } = this.fleet;
    const soonS = pool.isAtRest ? WOKEN_S : tickS;
    if (pool.nextTickS > this.nowS + soonS) this.tickAfter(pool, soonS);
  }

  private tickLater(pool: Pool): void {
    const { workers, queue, arrived, running } = pool;
    const { tickS, calmTickS = tickS } = this.fleet;
    pool.isAtRest = workers.size === 0 && queue.size === 0 && arrived === 0 && running === 0;
    pool.tickStamp++;
    pool.nextTickS = Number.POSITIVE_INFINITY;
    if (pool.isAtRest && pool.state.arrivals.lastMs < 0) return; // nothing has ever come
    this.tickAfter(pool, pool.isAtRest ? Math.max(AT_REST_S, calmTickS) : calmTickS);
  }

  private tickAfter(pool: Pool, afterS: number): void {
    pool.nextTickS = this.nowS + afterS;
    this.events.add(pool.nextTickS, { type: 'tick', pool, stamp: ++pool.tickStamp });
  }

  private tick(pool: Pool): void {
    const policy = pool.spec.policy!;
    if (this.isStoreAway) {
      this.tickLater(pool);
      return;
    }
    const startingMs: number[] = [];
    for (const { isEnding, readyS } of pool.starting) {
      if (!isEnding) startingMs.push(Math.max(0, (readyS - this.nowS) * 1000));
    }
    const live = pool.workers.size - pool.ending;
    const load = {
      stage: pool.spec.name,
      ready: live - startingMs.length,
      startingMs,
      slots: Math.min(128, pool.spec.slots),
      queued: this.queuedAt(pool),
      running: pool.running,
      arrived: pool.arrived,
      served: pool.served,
      servedMs: pool.served > 0 ? (1000 * pool.servedS) / pool.served : 0,
      hintMs: pool.spec.hintS * 1000,
      loadMs: readyAfterS(pool.spec) * 1000,
      confirmed: pool.confirmed,
    };
    pool.arrived = 0;
    pool.served = 0;
    pool.servedS = 0;
    const drain = this.drains?.[pool.index];
    if (
      drain?.isDrained === true &&
      this.pools.every((p) => p.starting.size === 0 || this.drains![p.index] !== drain)
    ) {
      pool.confirmed = pool.state.actions;
      load.confirmed = pool.confirmed;
    }
    const action = scale(load, policy, this.nowS * 1000, pool.state);
    pool.state = action.state;
    if (action.type !== 'hold') {
      if (drain === undefined) pool.confirmed = action.number;
      this.counts.actions++;
      if (action.to > live) for (let n = live; n < action.to; n++) this.startWorker(pool);
      else this.endWorkers(pool, live - action.to);
    }
    this.tickLater(pool);
  }

  // Those idle for longest go first, then those that start, then those that work, when their task is done.
  private endWorkers(pool: Pool, count: number): void {
    const idle = [...pool.open].filter(({ tasks }) => tasks.length === 0);
    const isIdle = new Set(idle);
    const others = [...pool.workers].filter((each) => !each.isEnding && !isIdle.has(each));
    others.sort((a, b) => Number(a.isReady) - Number(b.isReady));
    const chosen = [...idle, ...others].slice(0, count);
    const drain = this.drains?.[pool.index];
    if (drain !== undefined) {
      for (const worker of chosen) this.willEnd(pool, worker);
      this.gateway?.changed();
      this.release(drain.change(chosen));
      return;
    }
    for (const worker of chosen) {
      if (worker.tasks.length === 0) this.removeWorker(pool, worker);
      else this.willEnd(pool, worker);
    }
  }

  private willEnd(pool: Pool, worker: Worker): void {
    worker.isEnding = true;
    pool.ending++;
    pool.shut(worker);
  }

  // ---- faults

  private deathLater(): void {
    // One clock for all nodes; a node that joins later counts from the next death on.
    const rate = (this.faults.nodeDeathsPerHour * Math.max(1, this.nodes.list.length)) / 3600;
    this.events.add(this.nowS + exponential(this.draw, 1 / rate), { type: 'death' });
  }

  private nodeDies(): void {
    const { list } = this.nodes;
    if (list.length === 0) return;
    const node: SimNode = list[Math.floor(this.draw() * list.length)]!;
    if (node.workers.size === 0) return;
    this.counts.deaths++;
    for (const worker of [...node.workers]) {
      const pool = this.pools[worker.pool]!;
      const jobs = worker.tasks.splice(0);
      pool.running -= jobs.length;
      const wasFixed = pool.spec.fixed !== undefined && !worker.isEnding;
      this.removeWorker(pool, worker);
      this.counts.again += jobs.length;
      if (jobs.length > 0) pool.addAgain(jobs);
      if (wasFixed) this.startWorker(pool);
      // Waiting jobs may go to other workers at once.
      for (const other of [...pool.open]) this.fill(pool, other);
    }
  }

  private outage(begins: boolean): void {
    this.isStoreAway = begins;
    const { storeOutageS, storeOutagesPerHour } = this.faults;
    const afterS = begins ? storeOutageS : exponential(this.draw, 3600 / storeOutagesPerHour);
    this.events.add(this.nowS + afterS, { type: 'outage', begins: !begins });
  }
}

function drainsOf(fleet: FleetSpec): PlanDrain[] {
  const drains = new Map<number, PlanDrain>();
  return plansOf(fleet).map((plan) => {
    const drain = drains.get(plan) ?? new PlanDrain();
    drains.set(plan, drain);
    return drain;
  });
}

/** From the start of a process until it is ready. */
function readyAfterS({ processS = 0, loadS }: PoolSpec): number {
  return processS + loadS;
}
