// The choice of instances for a request, and the limit of requests on their way to each.
//
// An instance gets the requests that it runs and a small prefetch: enough that its next task is there when one ends,
// however long the path from the gateway is. If the path takes no time compared with the task, there is no prefetch: a
// request that was sent ahead cannot be overtaken by a more urgent one, and waits for a process that hangs. All other
// requests wait at the gateway, so the queues in the places are short and no request waits behind an unrelated one. A
// request counts at an instance when the earlier stages are done with it. Requests that the earlier stages still work
// on count only beyond the number that these can run at a time. So a slow request holds up nobody in later stages.
//
// Invariant: when a request is admitted, each of its instances has fewer than windowOf() tasks whose inputs are there;
// fewer unfinished tasks than windowOf() plus the number that all earlier stages can run together; and fewer than
// `residentLimit` requests that have not ended. That bounds the memory of places.
import type { RdmaError } from '../core/errors.js';
import { type Plan, type PlaceId, GATEWAY_INDEX } from './plan.js';
import { ALL, type Graph, placesOf, type Route } from './routing.js';
import { batchSizeOf, capacityOf, type Spread } from './spec.js';

/** The largest prefetch of one instance, in tasks. */
export const MAX_PREFETCH = 64;
/** Where the way takes no more of a task than that, an instance waits for its next task rather than that one for it. */
const NO_PREFETCH_SHARE = 0.01;
/** What the way to an instance and back takes, in microseconds, before it was measured. */
const FIRST_OVERHEAD_US = 200;
/** An instance is stalled when another one is ahead of it by longer than so many tasks take, and the way there. */
const STALLED_TASKS = 8;
/** How much a new sample counts. */
const SAMPLE_WEIGHT = 0.2;

/**
 * How many requests may be on their way to an instance or at work there.
 *
 * @param capacity tasks that it runs at a time, in batches or not
 * @param serviceUs how long a task takes there, in microseconds
 * @param leadUs how long it takes from the gateway until a task begins there, without waiting, in microseconds
 * @param least how many tasks wait there at least, so that a batch is full when one ends
 * @returns `capacity` and a prefetch of `least` to {@link MAX_PREFETCH}: by Little's law, what the instance finishes
 *   while a new request is on its way. Of tasks that take at least 100 times as long as the way there, only `least`.
 */
export function windowOf(capacity: number, serviceUs: number, leadUs: number, least = 0): number {
  if (leadUs <= serviceUs * NO_PREFETCH_SHARE) return capacity + least;
  const prefetch = Math.ceil((capacity * leadUs) / Math.max(serviceUs, 1));
  return capacity + Math.min(MAX_PREFETCH, Math.max(least, prefetch));
}

/** Whether an instance takes requests. What starts or is broken gets none; those that it has stay with it. */
export type Availability =
  | { readonly state: 'ready' }
  /** In how long it may be ready, where that is known, in ms. */
  | { readonly state: 'starting'; readonly readyInMs?: number | undefined }
  /** Of a stage without instances: how long one takes to start, in ms, once something has come for it. */
  | { readonly state: 'asleep'; readonly startMs: number }
  /** Why it cannot start, and in how long it is tried again, in ms. */
  | { readonly state: 'broken'; readonly reason: RdmaError; readonly retryInMs: number };

const READY: Availability = { state: 'ready' };
/** Represents the instances of a stage that sleeps; no instance has this number. */
const NONE = 0xffff;

/** What is known of one instance. */
export interface InstanceLoad {
  readonly stage: number;
  readonly instance: number;
  availability: Availability;
  /** When that was said. */
  availabilityUs: number;
  /** Its process has done no task yet. */
  isCold: boolean;
  /** Admitted, and their task here is not done. */
  unfinished: number;
  /** Of those, the ones whose task may begin: the stages before have done with them. */
  arrived: number;
  /** Admitted, and not ended. */
  resident: number;
  /** When its last task was done, or the first one arrived. */
  progressUs: number;
}

/** A request on its way, as far as its load counts. */
export interface AdmittedRequest {
  readonly plan: Plan;
  readonly route: Uint16Array;
  readonly admittedUs: number;
  /** For each stage, the instances that are not done. */
  readonly unfinished: InstanceLoad[][];
  /** For each stage, whether the stages before have done with it. */
  readonly arrived: boolean[];
}

export class Admission {
  private readonly graph: Graph;
  private readonly residentLimit: number;
  private readonly loads = new Map<number, InstanceLoad>(); // by stage and instance
  private readonly serviceUs: number[]; // of each stage; NaN: not measured
  private overheadUs = FIRST_OVERHEAD_US;
  private leads: number[] | undefined; // of each stage, from the service times; undefined: to be computed again
  private plan: Plan;
  /** Why no request can pass: the first stage that has a broken instance and, where one is enough, no other. */
  broken: { readonly stage: number; readonly reason: RdmaError; readonly retryInMs: number } | undefined;
  private readonly sleeping: InstanceLoad[]; // by stage: what represents its instances where the plan has none
  private candidates: InstanceLoad[][]; // of the newest plan, by stage
  private atWork: number[]; // by stage, what all stages before it can run at a time under the newest plan

  /** @param residentLimit requests of this gateway that may be between admission and end at one place, at least 1 */
  constructor(graph: Graph, plan: Plan, residentLimit: number) {
    this.graph = graph;
    this.residentLimit = residentLimit;
    this.serviceUs = graph.spec.stages.map(() => Number.NaN);
    this.sleeping = graph.spec.stages.map(({ scale }, stage) => {
      return newLoad(stage, NONE, { state: 'asleep', startMs: scale?.loadMs ?? 0 });
    });
    this.plan = plan;
    this.candidates = this.candidatesOf(plan);
    this.atWork = this.atWorkBefore(plan);
  }

  /** New requests go to the instances of this plan. */
  adopt(plan: Plan): void {
    this.plan = plan;
    this.candidates = this.candidatesOf(plan);
    this.atWork = this.atWorkBefore(plan);
    this.broken = this.findBroken();
    for (const [key, load] of this.loads) {
      if (load.resident === 0 && !plan.instances[load.stage]!.includes(load.instance)) this.loads.delete(key);
    }
  }

  private candidatesOf(plan: Plan): InstanceLoad[][] {
    return plan.instances.map((list, stage) => {
      return list.length === 0 ? [this.sleeping[stage]!] : list.map((instance) => this.loadOf(stage, instance));
    });
  }

  private atWorkBefore(plan: Plan): number[] {
    const { spec, ancestors } = this.graph;
    const together = spec.stages.map((stage, i) => {
      return stage.spread === 'shard' ? capacityOf(stage) : capacityOf(stage) * plan.instances[i]!.length;
    });
    return ancestors.map((before) => {
      let sum = 0;
      for (const stage of before) sum += together[stage]!;
      return sum;
    });
  }

  private loadOf(stage: number, instance: number): InstanceLoad {
    const key = stage * 65536 + instance;
    let load = this.loads.get(key);
    if (load === undefined) {
      load = newLoad(stage, instance, READY);
      this.loads.set(key, load);
    }
    return load;
  }

  /**
   * Chooses the places of the next request: of a routed stage the instance with the least unfinished work that has
   * room. One that is stalled gets nothing while another is not.
   *
   * @param nowUs when it is admitted
   * @param spreads how it is spread over the instances of each stage; default as the spec says
   * @returns undefined when a stage that it needs has no room
   */
  admit(nowUs: number, spreads?: readonly Spread[]): AdmittedRequest | undefined {
    const { stages } = this.graph.spec;
    const chosen: InstanceLoad[][] = [];
    const route = new Uint16Array(stages.length);
    for (let stage = 0; stage < stages.length; stage++) {
      const candidates = this.candidates[stage]!;
      const window = this.windowOf(stage);
      if ((spreads === undefined ? stages[stage]!.spread : spreads[stage]) === 'shard') {
        for (const load of candidates) if (!this.hasRoom(load, window)) return undefined;
        chosen.push(candidates.slice());
        route[stage] = ALL;
        continue;
      }
      const best = this.choose(stage, candidates, window);
      if (best === undefined) return undefined;
      chosen.push([best]);
      route[stage] = best.instance;
    }
    for (const loads of chosen) {
      for (const load of loads) {
        load.unfinished++;
        load.resident++;
      }
    }
    const arrived = stages.map(() => false);
    const request = { plan: this.plan, route, admittedUs: nowUs, unfinished: chosen, arrived };
    for (const stage of this.graph.first) this.arrive(request, stage, nowUs);
    return request;
  }

  private choose(stage: number, candidates: readonly InstanceLoad[], window: number): InstanceLoad | undefined {
    let newestUs = 0;
    for (const { progressUs } of candidates) newestUs = Math.max(newestUs, progressUs);
    let best: InstanceLoad | undefined;
    for (const load of candidates) {
      if (!this.hasRoom(load, window) || this.isStalled(load, stage, newestUs)) continue;
      if (best === undefined || isLighter(load, best)) best = load;
    }
    return best;
  }

  // It has all that it runs at a time, and nothing came of it for long, while something came of another one. That is
  // no matter of the clock: nothing comes of any of them while this process is busy.
  private isStalled(load: InstanceLoad, stage: number, newestUs: number): boolean {
    if (load.arrived < capacityOf(this.graph.spec.stages[stage]!)) return false;
    this.leads ??= this.computeLeads();
    // Before the first sample nothing is long.
    return newestUs - load.progressUs > this.leads[stage]! + STALLED_TASKS * this.serviceUs[stage]!;
  }

  private hasRoom(load: InstanceLoad, window: number): boolean {
    const { stage, arrived, unfinished, resident } = load;
    if (load.availability.state !== 'ready') return false;
    return arrived < window && unfinished < window + this.atWork[stage]! && resident < this.residentLimit;
  }

  // The request is at a stage when all stages before have done with it.
  private arrive(request: AdmittedRequest, stage: number, nowUs: number): void {
    if (request.arrived[stage]) return;
    for (const other of this.graph.before[stage]!) {
      if (other !== GATEWAY_INDEX && request.unfinished[other]!.length > 0) return;
    }
    request.arrived[stage] = true;
    for (const load of request.unfinished[stage]!) {
      if (load.arrived === 0) load.progressUs = nowUs;
      load.arrived++;
    }
  }

  // ---- What there is

  /** An instance starts, is ready, or cannot start. */
  setAvailability(place: PlaceId, availability: Availability, nowUs: number): void {
    const load = this.loadOf(place.stage, place.instance);
    if (availability.state === 'ready' && load.availability.state !== 'ready') load.isCold = true;
    load.availability = availability;
    load.availabilityUs = nowUs;
    this.broken = this.findBroken();
  }

  /** How a stage does of which the newest plan has no instance: it sleeps, or is being woken, or cannot be. */
  setSleep(stage: number, availability: Availability, nowUs: number): void {
    const load = this.sleeping[stage]!;
    load.availability = availability;
    load.availabilityUs = nowUs;
    this.broken = this.findBroken();
  }

  /** Of the stages without instances the one that will have one last, and in how many microseconds. */
  asleep(nowUs: number): { readonly stage: number; readonly readyInUs: number } | undefined {
    let last: { stage: number; readyInUs: number } | undefined;
    for (let stage = 0; stage < this.candidates.length; stage++) {
      const [first] = this.candidates[stage]!;
      if (first?.instance !== NONE || first.availability.state === 'broken') continue;
      const readyInUs = readyInUsOf(first, nowUs);
      if (last === undefined || readyInUs > last.readyInUs) last = { stage, readyInUs };
    }
    return last;
  }

  private findBroken(): Admission['broken'] {
    for (let stage = 0; stage < this.candidates.length; stage++) {
      const candidates = this.candidates[stage]!;
      const isShard = this.graph.spec.stages[stage]!.spread === 'shard';
      let [broken, others]: [InstanceLoad | undefined, number] = [undefined, 0];
      for (const load of candidates) {
        if (load.availability.state === 'broken') broken ??= load;
        else others++;
      }
      if (broken?.availability.state !== 'broken' || (others > 0 && !isShard)) continue;
      const { reason, retryInMs } = broken.availability;
      return { stage, reason, retryInMs };
    }
    return undefined;
  }

  /**
   * How many tasks of this gateway a stage can run at a time: now, and in how long one more each.
   *
   * @returns times in microseconds; an instance of which nobody knows when it will be ready counts as if it were now
   */
  capacity(stage: number, nowUs: number): { servers: number; startingUs: number[] } {
    const { spread } = this.graph.spec.stages[stage]!;
    const concurrency = capacityOf(this.graph.spec.stages[stage]!);
    const startingUs: number[] = [];
    let [ready, latestUs] = [0, 0];
    const candidates = this.candidates[stage]!;
    for (const load of candidates) {
      if (load.availability.state === 'broken') continue;
      const inUs = readyInUsOf(load, nowUs);
      latestUs = Math.max(latestUs, inUs);
      if (inUs === 0) ready += concurrency;
      else for (let i = 0; i < concurrency; i++) startingUs.push(inUs);
    }
    const gateways = this.plan.gateways.length;
    // All shards work for each request: the last one decides.
    if (spread === 'shard') {
      if (latestUs === 0) return { servers: concurrency / gateways, startingUs: [] };
      return { servers: 0, startingUs: new Array<number>(concurrency).fill(latestUs) };
    }
    return { servers: ready / gateways, startingUs };
  }

  /** How much of the tasks that run at a stage is behind them, in microseconds, where each takes so long. */
  elapsedUs(stage: number, nowUs: number, taskUs: number): number {
    const { spread } = this.graph.spec.stages[stage]!;
    const concurrency = capacityOf(this.graph.spec.stages[stage]!);
    let [sum, most] = [0, 0];
    for (const { arrived, progressUs } of this.candidates[stage]!) {
      if (arrived === 0) continue;
      // With one task at a time it began when the one before was done. Of several, half is behind them.
      const elapsed =
        concurrency === 1 ? Math.min(taskUs, nowUs - progressUs) : (Math.min(arrived, concurrency) * taskUs) / 2;
      sum += elapsed;
      most = Math.max(most, elapsed);
    }
    return spread === 'shard' ? most : sum;
  }

  /** What the way to a first stage and the answer of it take, in microseconds. */
  get overhead(): number {
    return this.overheadUs;
  }

  /** How many requests may be at an instance of a stage, or at work in the stages before it. */
  limitOf(stage: number): number {
    return this.windowOf(stage) + this.atWork[stage]!;
  }

  /** How many tasks whose inputs are there may wait at an instance of a stage, or be at work there. */
  windowOf(stage: number): number {
    const spec = this.graph.spec.stages[stage]!;
    const capacity = capacityOf(spec);
    const service = this.serviceUs[stage]!;
    this.leads ??= this.computeLeads();
    // Before the first sample: one task, or one batch, more than it runs.
    if (Number.isNaN(service)) return capacity + batchSizeOf(spec);
    // Of a stage that works together, the fast ones go on with the next request while the slowest is not done.
    const least = spec.spread === 'route' && spec.batch === undefined ? 0 : batchSizeOf(spec);
    return windowOf(capacity, service, this.leads[stage]!, least);
  }

  // The longest way through the stages before, at the time that each takes, and the overhead of the way.
  private computeLeads(): number[] {
    const leads: number[] = [];
    for (let stage = 0; stage < this.serviceUs.length; stage++) {
      let before = 0;
      for (const other of this.graph.before[stage]!) {
        if (other === GATEWAY_INDEX) continue;
        before = Math.max(before, leads[other]! + (this.serviceUs[other]! || 0));
      }
      leads.push(before === 0 ? this.overheadUs : before);
    }
    return leads;
  }

  /**
   * A task of a request is done.
   *
   * @param place where
   * @param nowUs when the gateway heard of it
   * @returns the instance that has done it; undefined when that was known
   */
  done(
    request: AdmittedRequest,
    place: PlaceId,
    queueUs: number,
    computeUs: number,
    nowUs: number,
  ): InstanceLoad | undefined {
    const waiting = request.unfinished[place.stage]!;
    const at = waiting.findIndex((load) => load.instance === place.instance);
    if (at < 0) return undefined;
    const load = waiting[at]!;
    load.unfinished--;
    if (request.arrived[place.stage]) load.arrived--;
    load.progressUs = nowUs;
    waiting.splice(at, 1);
    if (waiting.length === 0) for (const stage of this.graph.behind[place.stage]!) this.arrive(request, stage, nowUs);
    this.serviceUs[place.stage] = mix(this.serviceUs[place.stage]!, computeUs);
    if (this.graph.before[place.stage]!.every((stage) => stage === GATEWAY_INDEX)) {
      const overhead = nowUs - request.admittedUs - queueUs - computeUs;
      if (overhead > 0) this.overheadUs = mix(this.overheadUs, overhead);
    }
    this.leads = undefined;
    return load;
  }

  /** A request has ended, or leaves its places to begin again. */
  ended(request: AdmittedRequest): void {
    request.unfinished.forEach((waiting, stage) => {
      for (const load of waiting) {
        load.unfinished--;
        if (request.arrived[stage]) load.arrived--;
      }
      waiting.length = 0;
    });
    const { plan, route } = request;
    for (let stage = 0; stage < route.length; stage++) {
      for (const instance of placesOf(plan, route as Route, stage)) this.loadOf(stage, instance).resident--;
    }
  }

  /** What is known of each instance. */
  status(): (InstanceLoad & { window: number; serviceUs: number | undefined })[] {
    return [...this.loads.values()].map((load) => {
      const service = this.serviceUs[load.stage]!;
      return { ...load, window: this.windowOf(load.stage), serviceUs: Number.isNaN(service) ? undefined : service };
    });
  }
}

function newLoad(stage: number, instance: number, availability: Availability): InstanceLoad {
  const none = { unfinished: 0, arrived: 0, resident: 0, progressUs: 0 };
  return { stage, instance, availability, availabilityUs: 0, isCold: true, ...none };
}

// 0: it is ready, or nobody knows when it will be.
function readyInUsOf({ availability, availabilityUs }: InstanceLoad, nowUs: number): number {
  if (availability.state === 'asleep') return availability.startMs * 1000;
  if (availability.state !== 'starting' || availability.readyInMs === undefined) return 0;
  return Math.max(0, availabilityUs + availability.readyInMs * 1000 - nowUs);
}

function isLighter(a: InstanceLoad, b: InstanceLoad): boolean {
  return a.unfinished < b.unfinished || (a.unfinished === b.unfinished && a.resident < b.resident);
}

function mix(old: number, sample: number): number {
  return Number.isNaN(old) ? sample : old + SAMPLE_WEIGHT * (sample - old);
}
