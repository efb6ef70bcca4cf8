// Nodes and gateways of a simulated cluster: the shipped NodeManager and Controller over places that only count, and a
// gateway that follows plans as the shipped one does.
//
// Invariant: a place runs, under an epoch, in one agent; its process takes a while to start and to end, as real ones
// do.
import type { App, GatewayData, NodeReport, PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import { asJson, gatewayKey } from '../../src/ts/cluster/cluster-records.js';
import type { AppHostOptions, Hosting } from '../../src/ts/cluster/app-host.js';
import { ClusterView } from '../../src/ts/cluster/cluster-view.js';
import { Controller } from '../../src/ts/cluster/controller.js';
import { NodeManager } from '../../src/ts/cluster/node-manager.js';
import type { ControlPort } from '../../src/ts/control/port.js';
import type { Membership } from '../../src/ts/control/members.js';
import { type Plan, placeName, stagePlaces } from '../../src/ts/pipeline/index.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { Choices } from '../../src/ts/sim/choices.js';
import type { SimWorld } from '../../src/ts/sim/world.js';
import { drifting } from './control-run.js';
import { type SimControlServer, SimControlStore, type StoreTrouble } from './control-store.js';

export const APP = 'clip';

/** A place that runs on a node. */
export interface SimPlace {
  readonly name: string;
  readonly epoch: number;
  readonly plans: Set<number>;
  isReady: boolean;
}

/** What nodes and gateways need of the run that they are part of. */
export interface SimCluster {
  readonly world: SimWorld;
  readonly server: SimControlServer;
  readonly trouble: StoreTrouble;
  readonly choices: Choices;
  readonly shape: { readonly leaseMs: number; readonly forgets: boolean };
  /** By chance, from 0 up to 1. */
  fraction(): number;
  /** A call that may fail has failed. */
  failed(error: unknown): void;
  /** How a place of an app would do: `hangs`: it starts for ever. */
  healthOf(app: string, place: string): 'well' | 'broken' | 'hangs';
  /** A process of a place begins. */
  onBegin(app: string, place: SimPlace, process: SimProcess): void;
  /** A process of a place ends; `record`: as its node knows it, undefined: its app is gone. */
  onEnd(app: string, place: SimPlace, record: PlanRecord | undefined): void;
}

export const plansOf = ({ plan, olderPlans }: PlanRecord): Plan[] => [...olderPlans, ...(plan === null ? [] : [plan])];

/** A process, its clock and its connection. */
export abstract class SimAgent {
  process!: SimProcess;
  store!: SimControlStore;
  protected port!: ControlPort;

  constructor(
    protected readonly run: SimCluster,
    readonly name: string,
  ) {}

  start(): void {
    const { world, server, trouble } = this.run;
    const process = world.process(this.name);
    const timers = drifting(world, process, 0.98 + 0.04 * this.run.fraction(), this.run.fraction() * 1e9);
    this.process = process;
    const id = () => `${this.name}-${world.identity().slice(-6)}`;
    this.port = { timers, id, random: () => this.run.fraction() };
    this.store = new SimControlStore(server, process, timers, trouble);
    timers.after(1, () => void this.begin().catch((error) => this.run.failed(error)));
  }

  protected abstract begin(): Promise<void>;

  crash(): void {
    this.process.crash();
  }
}

export class SimNode extends SimAgent {
  controller: Controller | undefined;
  readonly hosts = new Set<SimHost>();

  protected async begin(): Promise<void> {
    const { name, port, store, run, process } = this;
    const { leaseMs, forgets } = run.shape;
    this.hosts.clear();
    this.controller = new Controller(store, { name, leaseMs, port, storeForgets: forgets });
    for (;;) {
      try {
        const has = { host: name, cores: 16, memoryBytes: 2 ** 33 };
        const options = { name, secret: 'of the simulation', leaseMs, port, has };
        await NodeManager.startWith(store, options, (own) => new SimHost(own, this, process));
        return;
      } catch (error) {
        run.failed(error);
      }
    }
  }

  /** Runs in a process that has not died meanwhile. */
  later(process: SimProcess, ms: number, call: () => void): void {
    process.later(ms, call);
  }

  get cluster(): SimCluster {
    return this.run;
  }

  /** All that run on it. */
  get places(): SimPlace[] {
    return [...this.hosts].flatMap(({ places }) => [...places.values()]);
  }

  /** Tells the node to report. */
  onPlaces(): void {
    for (const host of this.hosts) host.tell();
  }

  override crash(): void {
    super.crash();
    this.controller = undefined;
    this.hosts.clear(); // workers end with their node
  }
}

/** What a node does for the app: as AppHost, with places that only count. */
export class SimHost implements Hosting {
  readonly places = new Map<string, SimPlace>();
  private record: PlanRecord | undefined;
  private work: Promise<void> = Promise.resolve();

  constructor(
    private readonly options: AppHostOptions,
    private readonly node: SimNode,
    private readonly process: SimProcess,
  ) {
    node.hosts.add(this);
  }

  tell(): void {
    this.options.onReport();
  }

  get app(): App {
    return this.options.app;
  }

  private rest(mostMs: number): Promise<void> {
    const ms = this.node.cluster.choices.delay(1, mostMs);
    return new Promise((resolve) => this.node.later(this.process, ms, resolve));
  }

  follow(record: PlanRecord): void {
    this.work = this.work.then(() => this.followNow(record)).catch((error) => this.node.cluster.world.caught(error));
  }

  private async followNow(record: PlanRecord): Promise<void> {
    this.record = record;
    const { places } = this;
    const { name, cluster } = this.node;
    const { spec } = this.app;
    const mine = new Map<string, number>();
    for (const id of plansOf(record).flatMap(stagePlaces)) {
      const place = placeName(spec, id);
      const assignment = record.assignments[place];
      if (assignment?.node === name && assignment.run === this.options.run) mine.set(place, assignment.epoch);
    }
    const ending = [...places.values()].filter((place) => mine.get(place.name) !== place.epoch);
    if (ending.length > 0) await this.rest(300);
    for (const place of ending) {
      cluster.onEnd(this.app.name, place, record);
      places.delete(place.name);
    }
    for (const [place, epoch] of mine) if (!places.has(place)) this.begin(place, epoch);
    const numbers = plansOf(record).map(({ number }) => number);
    for (const place of places.values()) if (place.isReady) this.adopt(place, numbers);
    this.options.onReport();
  }

  private begin(name: string, epoch: number): void {
    const place: SimPlace = { name, epoch, plans: new Set(), isReady: false };
    this.places.set(name, place);
    this.node.cluster.onBegin(this.app.name, place, this.process);
    void this.rest(600).then(() => {
      place.isReady = true;
      this.adopt(place, this.record === undefined ? [] : plansOf(this.record).map(({ number }) => number));
      this.options.onReport();
    });
  }

  private adopt(place: SimPlace, numbers: readonly number[]): void {
    for (const number of place.plans) if (!numbers.includes(number)) place.plans.delete(number);
    const fresh = numbers.filter((number) => !place.plans.has(number));
    if (fresh.length === 0) return;
    void this.rest(40).then(() => {
      const known = this.record === undefined ? [] : plansOf(this.record).map(({ number }) => number);
      for (const number of fresh) if (known.includes(number)) place.plans.add(number);
      this.options.onReport();
    });
  }

  lookAround(): void {}

  report(): NodeReport {
    return Object.fromEntries(
      [...this.places.values()].map(({ name, epoch, plans, isReady }) => {
        const health = this.node.cluster.healthOf(this.app.name, name);
        const isBroken = health === 'broken';
        const begun = isReady && health !== 'hangs' ? ('ready' as const) : ('starting' as const);
        const state = isBroken ? ('broken' as const) : begun;
        const reason = isBroken ? 'it ends at once' : null;
        const now = health === 'well' ? [...plans] : [];
        const process = { readyInMs: null, pid: null, restarts: 0, vias: {} };
        return [name, { epoch, state, plans: now, address: null, reason, ...process }];
      }),
    );
  }

  async close(): Promise<void> {
    await this.work;
    for (const place of this.places.values()) this.node.cluster.onEnd(this.app.name, place, undefined);
    this.places.clear();
    this.node.hosts.delete(this);
  }
}

export class SimGateway extends SimAgent {
  /** Adopted and not let go of, the newest last. */
  plans: Plan[] = [];
  membership: Membership | undefined;
  /** By plan: the incarnation, and the epochs of places, when it was adopted. */
  readonly adopted = new Map<number, { incarnation: number | undefined; assignments: PlanRecord['assignments'] }>();
  private view!: ClusterView;
  private isLettingGo = false;

  constructor(
    run: SimCluster,
    readonly number: number,
  ) {
    super(run, `gateway-${number}`);
  }

  protected async begin(): Promise<void> {
    const { port, store, run } = this;
    const { leaseMs } = run.shape;
    this.plans = [];
    this.membership = undefined;
    this.adopted.clear();
    this.isLettingGo = false;
    const view = new ClusterView(store, { leaseMs, port, onChange: () => this.look() });
    this.view = view;
    while (this.membership === undefined) {
      try {
        this.membership = await view.gateways.join(gatewayKey(APP, this.number), this.data());
      } catch (error) {
        run.failed(error);
      }
    }
    this.look();
  }

  private data() {
    const data: GatewayData = { app: APP, number: this.number, address: null, plans: this.plans.map((p) => p.number) };
    return asJson(data);
  }

  private look(): void {
    if (this.membership === undefined || !this.view.isSynced) return;
    const app = this.view.app(APP);
    const record = app === undefined ? undefined : this.view.record(app);
    const newest = record?.plan;
    if (app === undefined || record === undefined || newest === null || newest === undefined) return;
    const isNew = newest.number > (this.plans.at(-1)?.number ?? 0) && newest.gateways.includes(this.number);
    const isReady = stagePlaces(newest).every((id) =>
      this.view.report(APP, record, placeName(app.spec, id))?.plans.includes(newest.number),
    );
    // The first one is opened before its places work.
    if (isNew && (isReady || this.plans.length === 0)) {
      this.plans.push(newest);
      this.adopted.set(newest.number, { incarnation: this.membership.incarnation, assignments: record.assignments });
      this.membership.update(this.data());
    }
    if (this.plans.length > 1 && !this.isLettingGo) {
      this.isLettingGo = true;
      // Its requests end.
      this.process.later(this.run.choices.delay(1, 800), () => {
        this.isLettingGo = false;
        this.plans.shift();
        this.membership!.update(this.data());
        this.look();
      });
    }
  }

  override crash(): void {
    super.crash();
    this.plans = [];
    this.membership = undefined;
  }
}
