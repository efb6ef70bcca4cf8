// The controller: of all candidates the leader writes the plans of all apps, from the deployed versions and the present
// nodes.
//
// Invariant: it writes only while it leads, each record against the revision that the decision used; so an older
// leader, or one with old records, changes nothing. It decides one thing at a time, and may die at any point: the next
// leader decides from the same records.
import { tellerOf } from '../core/event-teller.js';
import type { RdmaError } from '../core/errors.js';
import { checkFunction, checkObject } from '../core/validate.js';
import {
  type ControlPort,
  type ControlStore,
  Election,
  type Leadership,
  type MemberEvent,
  Members,
  systemControlPort,
} from '../control/index.js';
import { View } from '../control/view.js';
import { checkNode, type GpuMovePolicy } from '../planner/policies.js';
import { Autoscaler } from './autoscaler.js';
import { ClusterEvents } from './cluster-events.js';
import {
  type App,
  APPS,
  asJson,
  checkName,
  DRAINS,
  LEADER,
  NODES,
  type PlaceReport,
  type PlanRecord,
  PLANS,
} from './cluster-records.js';
import { ClusterView } from './cluster-view.js';
import type { GpuWorld } from './gpu-demand.js';
import { GpuGiver } from './gpu-giver.js';
import { gpuPolicyOf } from './gpu-policy.js';
import { type KnownApp, type LiveGateway, type LiveNode, reconcile, type Seen } from './reconcile.js';
import { versionOf } from './release-records.js';
import { Troubles } from './troubles.js';
import { VersionKeeper } from './version-keeper.js';

/** What a controller says of itself. */
export type ControllerEvent =
  | { readonly type: 'leading'; readonly term: number }
  | { readonly type: 'following'; readonly reason: RdmaError }
  | { readonly type: 'plan'; readonly app: string; readonly record: PlanRecord }
  | { readonly type: 'trouble'; readonly error: RdmaError };

/** How a controller is made. */
export interface ControllerOptions {
  /** Who this is, for people. */
  readonly name: string;
  /** Of leader, nodes and gateways, in ms; default 3000. The same for all of a cluster. */
  readonly leaseMs?: number | undefined;
  /** See LeaseOptions; default true. */
  readonly storeForgets?: boolean | undefined;
  /**
   * How readily GPUs go from stage to stage where there are too few, see GpuMovePolicy; false: they are divided by what
   * each wants, at once. The same for all of a cluster.
   */
  readonly gpuMoves?: Partial<GpuMovePolicy> | false | undefined;
  readonly onEvent?: ((event: ControllerEvent) => void) | undefined;
  readonly port?: ControlPort | undefined;
}

/** How long it rests after a write that failed. */
const RETRY_MS = 200;

/** One of those that would lead a cluster: it writes the plans of all apps while it does. */
export class Controller {
  private readonly name: string;
  private readonly port: ControlPort;
  private readonly tell: (event: ControllerEvent) => void;
  private readonly election: Election;
  private readonly nodes: Members;
  private readonly view: ClusterView;
  private readonly drains: View;
  private readonly versions: VersionKeeper;
  private readonly events: ClusterEvents;
  private readonly scaler: Autoscaler;
  private readonly giver: GpuGiver;
  private leadership: Leadership | undefined;
  private working: Promise<void> | undefined;
  private isDue = false;
  private readonly troubles = new Troubles((error) => {
    if (!this.isClosed) this.tell({ type: 'trouble', error });
  });
  private isClosed = false;

  /**
   * Campaigns, and works whenever it leads.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  constructor(
    private readonly store: ControlStore,
    options: ControllerOptions,
  ) {
    const given = checkObject<ControllerOptions>('options', options);
    const { leaseMs = 3000, storeForgets = true, onEvent: tell = () => {}, port = systemControlPort } = given;
    this.name = checkName('name', given.name);
    const policy = gpuPolicyOf(given.gpuMoves);
    this.port = port;
    this.tell = tellerOf('onEvent', checkFunction('onEvent', tell));
    const review = () => this.review();
    this.view = new ClusterView(store, { leaseMs, port, onChange: review });
    this.drains = new View(store, { prefix: DRAINS, leaseMs, port, onChange: review });
    const onEvent = ({ type, member }: MemberEvent) => {
      if (type === 'lost' && this.isLeading) {
        const text = `node ${member.name} does not renew its lease any more`;
        void this.events.append({ app: '', type: 'node-lost', words: text, inputs: { node: member.name } });
      }
      review();
    };
    this.nodes = new Members(store, { prefix: NODES, leaseMs, port, onEvent });
    this.events = new ClusterEvents(store, {
      leadership: () => this.leading,
      onTrouble: (error) => this.troubles.add('events', error),
    });
    this.versions = new VersionKeeper({
      store,
      leaseMs,
      port,
      view: this.view,
      events: this.events,
      onChange: review,
      onTrouble: (what, error) => this.troubles.add(what, error),
    });
    this.scaler = new Autoscaler(store, {
      leaseMs,
      port,
      view: this.view,
      events: this.events,
      troubles: this.troubles,
      leadership: () => this.leading,
      known: () => this.apps(),
      onChange: review,
      onTick: () => {
        if (this.giver.isDue(this.world)) review();
      },
    });
    this.giver = new GpuGiver(store, {
      policy,
      port,
      events: this.events,
      troubles: this.troubles,
    });
    this.election = new Election(store, {
      name: this.name,
      key: LEADER,
      leaseMs,
      storeForgets,
      port,
      onLead: (leadership) => {
        this.leadership = leadership;
        this.versions.restart();
        this.scaler.reset();
        this.giver.reset();
        this.tell({ type: 'leading', term: leadership.term });
        this.review();
      },
      onLost: (reason) => {
        this.leadership = undefined;
        this.versions.restart();
        this.tell({ type: 'following', reason });
      },
    });
  }

  /** Whether it leads now. */
  get isLeading(): boolean {
    return this.leading !== undefined;
  }

  private get leading(): Leadership | undefined {
    return this.leadership?.isLeading() === true ? this.leadership : undefined;
  }

  // Something is new: it decides again, after what it does now.
  private review(): void {
    this.isDue = true;
    if (this.working !== undefined || this.isClosed || !this.isLeading) return;
    this.working = this.work().finally(() => {
      this.working = undefined;
      if (this.isDue) this.review(); // what came when it had just looked
    });
  }

  private async work(): Promise<void> {
    // What came together is decided together.
    await new Promise<void>((resolve) => this.port.timers.after(0, resolve));
    await Promise.all([this.nodes.whenSynced(), this.view.gateways.whenSynced()]).catch(() => {});
    while (this.isDue && this.isLeading && !this.isClosed) {
      this.isDue = false;
      if (!this.view.isSynced || !this.versions.isSynced || this.drains.syncs === 0) return; // they call again
      if (!this.scaler.isReady) return; // it calls, too
      const isDone = await this.writeAll().catch((error) => {
        this.troubles.add('the plans', error);
        return false;
      });
      if (!isDone) {
        this.isDue = true;
        await new Promise<void>((resolve) => this.port.timers.after(RETRY_MS, resolve));
      }
    }
  }

  // False: some write came to nothing, and is to be decided again.
  private async writeAll(): Promise<boolean> {
    const { leadership } = this;
    let isDone = await this.versions.keep(leadership!);
    const { world } = this;
    // What it decides from. While one is written the view may see another: that is decided from the next time.
    const revisions = new Map(world.apps.map(({ app: { name } }) => [name, this.view.planEntry(name)?.revision ?? 0]));
    const apps = await this.giver.limit(world, leadership!);
    const decided = reconcile({ apps, nodes: world.nodes });
    for (const [app, record] of decided) {
      const key = PLANS + app;
      try {
        await this.writePlan(key, record, revisions.get(app)!);
        this.tell({ type: 'plan', app, record });
        this.keepPlan(app, record, apps.find((known) => known.app.name === app)?.record);
      } catch (error) {
        isDone = false;
        this.troubles.add(key, error);
      }
    }
    for (const entry of this.view.orphanedPlans()) {
      try {
        leadership!.check();
        await this.store.delete(entry.key, entry.revision);
      } catch (error) {
        isDone = false;
        this.troubles.add(entry.key, error);
      }
    }
    return isDone;
  }

  // A new plan, not the changes of an old one.
  private keepPlan(name: string, { plan, unplaced }: PlanRecord, before: PlanRecord | undefined): void {
    if (plan === null || plan.number === before?.plan?.number) return;
    const counts = plan.instances.map((list) => list.length).join(', ');
    const app = versionOf(name)?.app ?? name;
    const text = [`${name}: plan ${plan.number}, ${counts} instances by stage`, ...unplaced].join('; ');
    const { number, instances, gateways } = plan;
    void this.events.append({ app, type: 'plan', words: text, inputs: { number, instances, gateways, unplaced } });
  }

  private async writePlan(key: string, record: PlanRecord, expected: number): Promise<void> {
    const { leadership, store } = this;
    try {
      await leadership!.put(key, asJson(record), { expected });
    } catch (error) {
      // A store that is full may drop a record, and tell nobody (nats-server 2.9).
      const { code } = error as { code?: string };
      if (code !== 'RDMA_ERR_CONFLICT' || expected === 0 || (await store.get(key)) !== undefined) throw error;
      await leadership!.put(key, asJson(record), { expected: 0 });
    }
  }

  // What it decides from.
  private get world(): GpuWorld {
    const scaledOf: GpuWorld['scaledOf'] = (app, stage) => this.scaler.scaledOf(app, stage);
    return { apps: this.apps(), nodes: this.liveNodes(), scaledOf };
  }

  private liveNodes(): LiveNode[] {
    return this.nodes.list().flatMap(({ name, data }) => {
      try {
        const draining = this.drains.get(DRAINS + name) !== undefined;
        const run = String(Object(data).run);
        return { ...checkNode({ ...Object(data), name, ...(draining ? { draining } : {}) }), run };
      } catch (error) {
        this.troubles.add(NODES + name, error);
        return [];
      }
    });
  }

  private apps(): KnownApp[] {
    const { view } = this;
    const known: KnownApp[] = [];
    for (const name of view.appNames()) {
      try {
        const found = view.app(name)!;
        const wanted = this.scaler.wantedOf(found);
        if (wanted === undefined) continue; // it calls when it knows
        const app = { ...found, wanted };
        const record = view.record(app);
        const gateways = view.gatewaysOf(name);
        const startMs = this.scaler.startMsOf(app);
        const limits = this.giver.limitsOf(app);
        const more = { ...(startMs === undefined ? {} : { startMs }), ...(limits === undefined ? {} : { limits }) };
        const reports = this.reportsOf(app, record);
        known.push({ app, record, gateways, reports, seen: this.seenOf(app, gateways), ...more });
      } catch (error) {
        this.troubles.add(APPS + name, error);
      }
    }
    return known;
  }

  private reportsOf({ name }: App, record: PlanRecord | undefined): Record<string, PlaceReport> {
    const reports: Record<string, PlaceReport> = {};
    for (const place of Object.keys(record?.assignments ?? {})) {
      const report = this.view.report(name, record!, place);
      if (report !== undefined) reports[place] = report;
    }
    return reports;
  }

  // Also what nodes have said that are lost, and of places that are elsewhere by now.
  private seenOf(app: App, gateways: readonly LiveGateway[]): Seen {
    const plans = gateways.flatMap((gateway) => [...gateway.plans]);
    const epochs: Record<string, number> = {};
    for (const reports of this.view.allReportsOf(app.name)) {
      for (const [place, report] of Object.entries(reports)) {
        if (!Number.isSafeInteger(report?.epoch) || !Array.isArray(report.plans)) continue;
        epochs[place] = Math.max(epochs[place] ?? 0, report.epoch);
        plans.push(...report.plans.filter(Number.isSafeInteger));
      }
    }
    return { plan: Math.max(0, ...plans), epochs };
  }

  /** Leads no longer; plans stay as they are. */
  async close(): Promise<void> {
    this.isClosed = true;
    await this.election.close();
    await this.working;
    await this.scaler.close();
    await Promise.all([this.nodes.close(), this.view.close(), this.drains.close(), this.versions.close()]);
  }
}
