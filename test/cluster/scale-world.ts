// A stage of a cluster in virtual time: the shipped feed, policy and reconcile; nodes, a gateway and tasks that only
// count. Not a test.
//
// Invariant: it does what real ones do: an instance works `loadMs` after it was assigned, a gateway adopts a plan when
// all of its places work, and lets go of an older one after its last task there.
import type { App, PlaceReport, PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import { type GatewayLoad, loadOf } from '../../src/ts/cluster/gateway-load.js';
import { type KnownApp, reconcile } from '../../src/ts/cluster/reconcile.js';
import { type Fed, feed, type FeedState, NO_FEED, wantedOf } from '../../src/ts/cluster/scale-feed.js';
import { checkSpec, type Plan, type StageScale, type WorkflowSpec } from '../../src/ts/pipeline/index.js';

const STEP_MS = 50;
export const DECIDE_MS = 1000;

export interface ScaleWorldOptions {
  readonly scale: Partial<StageScale> & Pick<StageScale, 'sloMs'>;
  readonly loadMs: number;
  readonly taskMs: number;
  readonly instances?: number;
  readonly cores?: number;
  /** Of the app; default clip. */
  readonly name?: string;
  /** That an instance has for itself; default none. */
  readonly gpus?: number;
}

interface Task {
  readonly place: string;
  readonly plan: number;
  readonly cameMs: number;
  readonly untilMs: number;
  readonly isCold: boolean;
}

export class ScaleWorld {
  nowMs = 0;
  record: PlanRecord | undefined;
  state: FeedState = NO_FEED;
  readonly app: App;
  readonly decisions: { atMs: number; decision: Fed['decisions'][number] }[] = [];
  readonly latencies: { cameMs: number; ms: number }[] = [];
  /** Tasks whose place ended under them. */
  cut = 0;
  /** Of the gateway; it is another one when this grows. */
  incarnation = 1;
  private arrived = 0;
  private served = 0;
  private queue: number[] = [];
  private tasks: Task[] = [];
  private plans: Plan[] = [];
  private readonly since = new Map<string, { epoch: number; sinceMs: number; isWarm: boolean }>();
  private owed = 0;

  constructor(readonly options: ScaleWorldOptions) {
    const { scale, instances = 1, name = 'clip', gpus = 0 } = options;
    const spec: WorkflowSpec = checkSpec({
      name,
      stages: [{ name: 'work', instances, scale, resources: { cores: 1, gpus } }],
    });
    const wanted = { work: instances };
    this.app = { name, module: '/clip.js', hash: 'a'.repeat(64), spec, sizes: {} as never, wanted };
  }

  /** Lets time pass. @param rate requests a second */
  run(ms: number, rate: number, draw: () => number = () => 1): void {
    const endMs = this.nowMs + ms;
    while (this.nowMs < endMs) {
      this.step(rate, draw);
      if (this.nowMs % DECIDE_MS === 0) this.decide();
    }
  }

  /** A part of a second without a decision. */
  step(rate: number, draw: () => number): void {
    this.nowMs += STEP_MS;
    this.come(rate, draw);
    this.work();
  }

  get count(): number {
    return this.record?.plan?.instances[0]?.length ?? 0;
  }

  /** Changes of what is wanted. */
  get actions() {
    return this.decisions.filter(({ decision }) => decision.isNew);
  }

  private come(rate: number, draw: () => number): void {
    for (; this.owed <= 0; this.arrived++) {
      this.owed += (1000 / rate) * draw();
      this.queue.push(this.nowMs);
    }
    this.owed -= STEP_MS;
  }

  private isReady(place: string): boolean {
    const start = this.since.get(place);
    return start !== undefined && this.nowMs - start.sinceMs >= this.options.loadMs;
  }

  private work(): void {
    const done = this.tasks.filter(({ untilMs }) => untilMs <= this.nowMs);
    this.tasks = this.tasks.filter(({ untilMs }) => untilMs > this.nowMs);
    for (const { cameMs, isCold } of done) {
      this.latencies.push({ cameMs, ms: this.nowMs - cameMs });
      if (!isCold) this.served++;
    }
    const newest = this.record?.plan;
    const isNew = newest !== null && newest !== undefined && newest.number > (this.plans.at(-1)?.number ?? 0);
    if (isNew && placesOf(newest).every((place) => this.isReady(place))) this.plans.push(newest);
    while (this.plans.length > 1 && !this.tasks.some(({ plan }) => plan === this.plans[0]!.number)) this.plans.shift();
    const plan = this.plans.at(-1);
    if (plan === undefined) return;
    for (const place of placesOf(plan)) {
      if (this.queue.length === 0 || this.tasks.some((task) => task.place === place)) continue;
      const start = this.since.get(place)!;
      const cameMs = this.queue.shift()!;
      const isCold = !start.isWarm;
      start.isWarm = true;
      this.tasks.push({ place, plan: plan.number, cameMs, untilMs: this.nowMs + this.options.taskMs, isCold });
    }
  }

  /** What the controller knows. */
  get known(): KnownApp {
    const reports: Record<string, PlaceReport> = {};
    for (const [place, { epoch }] of Object.entries(this.record?.assignments ?? {})) {
      const state = this.isReady(place) ? 'ready' : 'starting';
      reports[place] = {
        epoch,
        state,
        plans: [],
        address: null,
        reason: null,
        readyInMs: null,
        pid: 1,
        restarts: 0,
        vias: {},
      };
    }
    const gateways = [{ number: 0, plans: this.plans.map(({ number }) => number) }];
    const app = { ...this.app, wanted: wantedOf(this.app, this.state.stages) };
    return { app, record: this.record, gateways, reports, seen: { plan: 0, epochs: {} } };
  }

  /** What the gateway says. */
  get load(): GatewayLoad {
    const plan = this.plans.at(-1) ?? { number: 0, instances: [[]], gateways: [0] };
    const instances = plan.instances[0]!.map((instance) => {
      const arrived = this.tasks.filter(({ place }) => place === `work/${instance}`).length;
      return { stage: 0, instance, availability: { state: 'ready' as const }, arrived };
    });
    const served = [{ count: this.served, totalUs: this.served * this.options.taskMs * 1000 }];
    const status = { instances, served, queued: this.queue.length };
    return loadOf(this.app.spec, plan, status as never, this.arrived, this.incarnation);
  }

  /** One round of the controller. */
  decide(loads: ReadonlyMap<number, GatewayLoad> = new Map([[0, this.load]])): void {
    this.follow(loads);
    const { cores = 64 } = this.options;
    const nodes = [{ name: 'node', host: 'node', cores, memoryBytes: 2 ** 40, run: 'run' }];
    this.take(reconcile({ apps: [this.known], nodes }).get(this.app.name));
  }

  /** The policy decides. @param limits see KnownApp */
  follow(loads: ReadonlyMap<number, GatewayLoad> = new Map([[0, this.load]]), limits?: KnownApp['limits']): void {
    const known = limits === undefined ? this.known : { ...this.known, limits };
    const { state, decisions } = feed({ known, loads }, this.state, this.nowMs);
    this.state = state;
    for (const decision of decisions) this.decisions.push({ atMs: this.nowMs, decision });
  }

  /** What was decided for it. @param record undefined: as before */
  take(record: PlanRecord | undefined): void {
    this.record = record ?? this.record;
    const assigned = this.record?.assignments ?? {};
    for (const [place, { epoch }] of Object.entries(assigned)) {
      if (this.since.get(place)?.epoch !== epoch) this.since.set(place, { epoch, sinceMs: this.nowMs, isWarm: false });
    }
    for (const place of this.since.keys()) if (assigned[place] === undefined) this.since.delete(place);
    this.cut += this.tasks.filter(({ place }) => assigned[place] === undefined).length;
  }
}

const placesOf = (plan: Plan): string[] => plan.instances[0]!.map((instance) => `work/${instance}`);
