// A simulated client's gateway to one version: it joins, follows plans and lets go of them as VersionPipeline does,
// with requests that only take time.
//
// Invariant: requests begin under the newest plan that it has adopted, and each stays under its plan; one whose place
// is given up goes on under the newest.
import type { App, GatewayData, PlanRecord } from '../../src/ts/cluster/cluster-records.js';
import { asJson, gatewayKey } from '../../src/ts/cluster/cluster-records.js';
import { LOADS } from '../../src/ts/cluster/gateway-load.js';
import { LoadReporter } from '../../src/ts/cluster/load-reporter.js';
import { ClusterView } from '../../src/ts/cluster/cluster-view.js';
import type { ControlPort } from '../../src/ts/control/port.js';
import type { Membership } from '../../src/ts/control/members.js';
import { type Plan, placeName, stagePlaces } from '../../src/ts/pipeline/index.js';
import { SPEC } from '../cluster/reconcile-world.js';
import type { SimCluster } from './cluster-parts.js';
import type { SimControlStore } from './control-store.js';

export interface SimRequest {
  readonly gate: SimVersionGate;
  plan: Plan;
  /** Names of the places that it passes. */
  route: readonly string[];
}

/** How long a gateway waits until its version works, in ms. */
const START_MS = 20_000;
const MAX_GATEWAYS = 8;

export interface GateParts {
  readonly run: SimCluster;
  readonly store: SimControlStore;
  readonly port: ControlPort;
  /** The app below. */
  readonly app: string;
  /** Something has changed. */
  readonly onChange: () => void;
  /** It cannot go on. */
  readonly onFailed: () => void;
}

export class SimVersionGate {
  /** Whether requests may go to it. */
  isReady = false;
  isClosed = false;
  /** Adopted and not let go of, the newest last. */
  plans: Plan[] = [];
  readonly requests = new Set<SimRequest>();
  membership: Membership | undefined;
  /** By plan: the incarnation, and the epochs of places, when it was adopted. */
  readonly adopted = new Map<number, { incarnation: number | undefined; assignments: PlanRecord['assignments'] }>();
  private readonly view: ClusterView;
  private number = 0;
  private incarnation: number | undefined;
  private joining: Promise<void> | undefined;
  private reporter: LoadReporter | undefined;
  private arrived = 0;
  private readonly served = { served: 0, servedMs: 0 };

  constructor(private readonly parts: GateParts) {
    const { store, port, run } = parts;
    const onChange = () => this.look();
    this.view = new ClusterView(store, { leaseMs: run.shape.leaseMs, port, onChange });
    port.timers.after(START_MS, () => this.isReady || this.fail());
  }

  get app(): string {
    return this.parts.app;
  }

  get isLive(): boolean {
    return this.isReady;
  }

  private fail(): void {
    if (!this.isClosed) this.parts.onFailed();
  }

  private known(): { app: App; record: PlanRecord } | undefined {
    const app = this.view.app(this.app);
    const record = app === undefined ? undefined : this.view.record(app);
    return app === undefined || record === undefined ? undefined : { app, record };
  }

  private data() {
    const data: GatewayData = {
      app: this.app,
      number: this.number,
      address: null,
      plans: this.plans.map(({ number }) => number),
    };
    return asJson(data);
  }

  private async join(): Promise<void> {
    const { view, app } = this;
    await view.gateways.whenSynced(START_MS);
    for (let number = 0; number < MAX_GATEWAYS && !this.isClosed; number++) {
      if (view.gateways.get(gatewayKey(app, number)) !== undefined) continue;
      try {
        this.number = number;
        this.membership = await view.gateways.join(gatewayKey(app, number), this.data());
        return;
      } catch (error) {
        if ((error as { code?: string }).code !== 'RDMA_ERR_CONFLICT') throw error;
      }
    }
  }

  look(): void {
    if (this.isClosed || !this.view.isSynced) return;
    if (this.membership === undefined) {
      if (this.view.app(this.app) === undefined) return;
      this.joining ??= this.join().then(
        () => this.look(),
        (error) => {
          this.parts.run.failed(error);
          this.fail();
        },
      );
      return;
    }
    const known = this.known();
    const newest = known?.record.plan;
    if (known === undefined || newest === null || newest === undefined) return;
    const { record } = known;
    if (this.plans.length === 0) {
      // It is opened before its places work.
      if (newest.gateways.includes(this.number)) this.adopt(newest, record);
      return;
    }
    if (!this.isReady) {
      if (!this.works(this.plans[0]!, record)) return;
      this.isReady = true;
      if (known.app.spec.stages.some(({ scale }) => scale !== undefined)) this.reportLoad();
      this.parts.onChange();
    }
    const isNew = newest.number > this.plans.at(-1)!.number && newest.gateways.includes(this.number);
    if (isNew && this.works(newest, record)) {
      this.adopt(newest, record);
      // It was lost meanwhile: a plan may have left it out.
      if (this.membership.incarnation !== this.incarnation) this.again(() => true);
      this.incarnation = this.membership.incarnation;
    }
    this.giveUpLost(record);
    this.retire();
  }

  // As if the first stage did all the work of a request.
  private reportLoad(): void {
    const { store, port, app } = this.parts;
    const read = () => {
      const incarnation = this.membership?.incarnation;
      if (incarnation === undefined || this.isClosed) return undefined;
      const a = { atWork: this.requests.size, waiting: 0, ...this.served };
      return {
        incarnation,
        arrived: this.arrived,
        stages: { a, b: { atWork: 0, waiting: 0, served: 0, servedMs: 0 } },
      };
    };
    this.reporter = new LoadReporter(store, { key: LOADS + gatewayKey(app, this.number), port, read });
  }

  private adopt(plan: Plan, { assignments }: PlanRecord): void {
    const { incarnation } = this.membership!;
    if (this.plans.length === 0) this.incarnation = incarnation;
    this.plans.push(plan);
    this.adopted.set(plan.number, { incarnation, assignments });
    this.membership!.update(this.data());
  }

  private works(plan: Plan, record: PlanRecord): boolean {
    return stagePlaces(plan).every((id) =>
      this.view.report(this.app, record, placeName(SPEC, id))?.plans.includes(plan.number),
    );
  }

  // Places that never come back: requests through them begin again.
  private giveUpLost(record: PlanRecord): void {
    const newest = this.plans.at(-1)!;
    if (record.plan === null || record.plan.number < newest.number) return;
    const stays = new Set(stagePlaces(newest).map((id) => placeName(SPEC, id)));
    const isLost = (name: string) =>
      !stays.has(name) && (record.lost.includes(name) || record.assignments[name] === undefined);
    this.again(({ route }) => route.some(isLost));
  }

  private again(which: (request: SimRequest) => boolean): void {
    const newest = this.plans.at(-1)!;
    for (const request of this.requests)
      if (request.plan !== newest && which(request)) Object.assign(request, this.routed(newest));
  }

  private retire(): void {
    while (this.plans.length > 1 && ![...this.requests].some(({ plan }) => plan === this.plans[0])) {
      this.plans.shift();
      this.membership!.update(this.data());
    }
  }

  private routed(plan: Plan): Pick<SimRequest, 'plan' | 'route'> {
    const { choices } = this.parts.run;
    const route = plan.instances.map((list, stage) =>
      placeName(SPEC, { stage, instance: list[choices.pick(list.length, 'fault')]! }),
    );
    return { plan, route };
  }

  begin(): SimRequest {
    this.arrived++;
    const request = { gate: this, ...this.routed(this.plans.at(-1)!) };
    this.requests.add(request);
    return request;
  }

  end(request: SimRequest, tookMs: number): void {
    this.requests.delete(request);
    this.served.served++;
    this.served.servedMs += tookMs;
    this.look();
    this.parts.onChange();
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.isReady = false;
    await this.joining;
    await this.reporter?.close();
    await this.membership?.leave().catch((error) => this.parts.run.failed(error));
    await this.view.close();
  }
}
