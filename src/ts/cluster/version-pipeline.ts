// A gateway to one version of an app, with the interface of a pipeline: requests go to the nodes that the plan names.
//
// Invariant: requests are admitted under a plan after all of its places work under it, and an older one is let go of
// after its last request here. While the store is away it goes on with the last plan.
import { withDeadline } from '../core/deadline.js';
import { asRdmaError, RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import type { ControlPort, ControlStore, Membership } from '../control/index.js';
import {
  type Availability,
  Gateway,
  type GatewayStatus,
  graphOf,
  type PipelineRequest,
  type PlaceId,
  type Plan,
  placeName,
  type RequestOptions,
  stageIndex,
  stagePlaces,
  type PipelinePort,
  type WorkflowSpec,
} from '../pipeline/index.js';
import { type App, asJson, type GatewayData, gatewayKey, type PlanRecord } from './cluster-records.js';
import { ClusterView } from './cluster-view.js';
import { LOADS, loadOf } from './gateway-load.js';
import { LoadReporter } from './load-reporter.js';
import type { PipelineSettings } from './local-pipeline-options.js';
import { memoryNeeds, type PipelineMemory } from './memory-needs.js';
import { closedError, RunningPipeline } from './running-pipeline.js';

/** How to connect to one version of an app. @internal */
export interface VersionPipelineOptions {
  /** Name of the app below: APP=VERSION. */
  readonly app: string;
  readonly secret: Secret<string>;
  readonly settings: PipelineSettings;
  readonly startTimeoutMs: number;
  /** Of the gateway's own lease, in ms. */
  readonly leaseMs: number;
  readonly port: ControlPort;
  readonly pipelinePort: PipelinePort;
  /** Names of the devices that it listens on beside that of `settings`. */
  readonly otherDevices: readonly string[];
  /** The address of this host that other hosts reach it by; undefined: they do not. */
  readonly address: string | undefined;
  /** It cannot go on. */
  readonly onFailed: (reason: RdmaError) => void;
}

/** Answered by {@link VersionPipeline.status}. */
export interface VersionPipelineStatus {
  readonly number: number;
  readonly plan: Plan;
  readonly olderPlans: readonly Plan[];
  readonly gateway: GatewayStatus;
  /** What the newest plan reserves on all nodes together. */
  readonly memory: PipelineMemory;
  /** By place: its node, and how it does there. */
  readonly places: Readonly<Record<string, { node: string; state: string; reason: string | null }>>;
  /** What is wanted and is not there. */
  readonly unplaced: readonly string[];
  /** Why the control store was last of no use, or what it says could not be followed; undefined while all goes well. */
  readonly control: RdmaError | undefined;
}

const MAX_GATEWAYS = 64;
/** How long it rests after a plan that could not be followed. */
const RETRY_MS = 300;
/** From the request that wakes a stage until its instance is started, and until it is used: reports and a plan. */
const WAKE_MS = 1500;

/** @internal */
export class VersionPipeline extends RunningPipeline {
  private readonly settings: PipelineSettings;
  private readonly otherDevices: readonly string[];
  private readonly listenHost: string | undefined;
  private readonly pipelinePort: PipelinePort;
  private readonly appName: string;
  private readonly secret: Secret<string>;
  private readonly view: ClusterView;
  private readonly availability = new Map<string, string>(); // the last state that the gateway got, by place
  private readonly startMs = new Map<string, number>(); // of stages that sleep, as last said
  private readonly givenUp = new Set<string>();
  private app!: App;
  private number = 0;
  private membership: Membership | undefined;
  private incarnation: number | undefined; // of the membership, when the newest plan was adopted
  private record: PlanRecord | undefined;
  private plans: Plan[] = []; // adopted, the newest last
  private adopting: Promise<void> | undefined;
  private isDue = false; // there is something to follow
  private trouble: RdmaError | undefined; // why it could not be followed
  private isLive = false;
  private arrived = 0; // requests, for the load that is reported
  private reporter: LoadReporter | undefined;

  constructor(
    private readonly control: ControlStore,
    private readonly options: VersionPipelineOptions,
  ) {
    super(undefined, options.settings.leaseMs);
    const { app, secret, leaseMs, settings, port, pipelinePort, otherDevices, address } = options;
    this.settings = settings;
    this.otherDevices = otherDevices;
    this.listenHost = address;
    this.pipelinePort = pipelinePort;
    this.appName = app;
    this.secret = secret;
    this.view = new ClusterView(control, { leaseMs, port, onChange: () => this.review() });
  }

  /**
   * Opens its gateway, and waits until the version works. The caller closes it, also when this fails.
   *
   * @throws RdmaError RDMA_ERR_TIMEOUT when it does not work in time, with the reasons; RDMA_ERR_NO_DEVICE
   */
  async start(): Promise<void> {
    const { view, waiters, appName } = this;
    const { startTimeoutMs } = this.options;
    const silent = () => `the control store has not told within ${startTimeoutMs} ms what there is`;
    await waiters.until(() => view.isSynced, startTimeoutMs, silent);
    await view.gateways.whenSynced(startTimeoutMs);
    const absent = () => `${appName} is not there after ${startTimeoutMs} ms: is a controller there?`;
    await waiters.until(() => view.app(appName) !== undefined, startTimeoutMs, absent);
    this.app = view.app(appName)!;
    await this.takeNumber();
    const hasPlan = () => {
      const record = view.record(this.app);
      return record?.plan?.gateways.includes(this.number) === true;
    };
    const unnamed = () => this.whyLate([`no plan names gateway ${this.number}`]);
    await waiters.until(hasPlan, startTimeoutMs, unnamed);
    const record = view.record(this.app)!;
    await this.open(record.plan!);
    this.record = record;
    // That plan may be dropped before it works, by others who take this gateway for dead: from here on newer ones are
    // followed.
    this.review();
    const newest = () => this.plans.at(-1)!;
    const unready = () =>
      this.whyLate([`waits for ${this.lateFor(newest()).join(', ')} under plan ${newest().number}`]);
    await waiters.until(() => this.isReady(newest()), startTimeoutMs, unready);
    const late = () => this.whyLate(['places work and cannot be connected to']);
    await withDeadline(this.gateway!.connect(), { timeoutMs: startTimeoutMs, late });
    this.isLive = true;
    this.tellPlans();
    this.review();
    this.reportLoad();
  }

  // For whoever scales the stages, where one is scaled.
  private reportLoad(): void {
    const { app, control, appName, number } = this;
    if (app.spec.stages.every(({ scale }) => scale === undefined)) return;
    this.reporter = new LoadReporter(control, {
      key: LOADS + gatewayKey(appName, number),
      port: this.options.port,
      read: () => {
        const incarnation = this.membership?.incarnation;
        const { gateway, plans, arrived } = this;
        if (incarnation === undefined || gateway === undefined || this.isClosing) return undefined;
        return loadOf(app.spec, plans.at(-1)!, gateway.status(), arrived, incarnation);
      },
    });
  }

  // A request that comes again at its time is no newcomer, unless it has to wake a stage.
  private count(options: RequestOptions | undefined): void {
    const hasSleeper = this.plans.at(-1)?.instances.some((list) => list.length === 0) === true;
    if (options?.retryToken !== undefined && !hasSleeper) return;
    this.arrived++;
    if (hasSleeper) this.reporter?.hurry();
  }

  /** @internal */
  protected override runAt(gateway: Gateway, request: PipelineRequest, options?: RequestOptions) {
    this.count(options);
    return super.runAt(gateway, request, options);
  }

  /** @internal */
  override checkAt(bytes: number, options?: RequestOptions): void {
    try {
      super.checkAt(bytes, options);
    } catch (error) {
      // It does not begin, so it was not counted.
      if ((error as RdmaError).code === 'RDMA_ERR_REJECTED') this.count(options);
      throw error;
    }
  }

  // The smallest number that no gateway has. Numbers of lost gateways come last: such a gateway may only be stopped,
  // and go on under its number later.
  private async takeNumber(): Promise<void> {
    const { view, appName } = this;
    const all = Array.from({ length: MAX_GATEWAYS }, (_, number) => ({ number, key: gatewayKey(appName, number) }));
    const free = all.filter(({ key }) => view.gateways.get(key) === undefined);
    const lost = free.filter(({ key }) => view.gateways.isLost(key));
    for (const { number, key } of [...free.filter((each) => !lost.includes(each)), ...lost]) {
      try {
        this.number = number;
        this.membership = await view.gateways.join(key, asJson(this.advertised(null)));
        return;
      } catch (error) {
        // Another one was faster.
        if ((error as RdmaError).code !== 'RDMA_ERR_CONFLICT') throw error;
      }
    }
    throw new RdmaError('RDMA_ERR_REJECTED', `${appName} has ${MAX_GATEWAYS} gateways already`);
  }

  private advertised(address: GatewayData['address']): GatewayData {
    const plans = this.plans.map(({ number }) => number);
    return { app: this.appName, number: this.number, address, plans, lost: [...this.givenUp].sort() };
  }

  private async open(plan: Plan): Promise<void> {
    const { settings, app, secret } = this;
    const { device, maxInFlight, maxQueued, maxQueuedBytes, tenants, reconnectMs, pollUs } = settings;
    this.gateway = await Gateway.open({
      port: this.pipelinePort,
      graph: graphOf(app.spec),
      self: { stage: stageIndex(app.spec, 'gateway'), instance: this.number },
      // Of one number, a later gateway has a later incarnation.
      incarnation: this.membership!.incarnation ?? 1,
      plan,
      device,
      otherDevices: this.otherDevices,
      listenHost: this.listenHost,
      secret,
      pollUs,
      reconnectMs,
      maxInFlight,
      maxQueued,
      maxQueuedBytes,
      tenants,
      resolve: (place) => this.whereIs(place),
      onFailed: (reason) => this.fail(reason),
    });
    this.plans = [plan];
    this.incarnation = this.membership!.incarnation;
    this.membership!.update(asJson(this.advertised(this.gateway.address)));
  }

  private tellPlans(): void {
    this.membership?.update(asJson(this.advertised(this.gateway!.address)));
  }

  private whereIs(place: string) {
    const find = () => (this.record === undefined ? undefined : this.view.addressOf(this.appName, this.record, place));
    const address = find();
    if (address !== undefined) return address;
    return this.waiters.until(() => find() !== undefined).then(() => find()!);
  }

  // ---- Following the plan

  // Something is new in the store.
  private review(): void {
    if (this.app !== undefined && this.gateway !== undefined && !this.isClosing) {
      try {
        this.record = this.view.record(this.app) ?? this.record;
        this.tellAvailability();
        this.gateway.reviewAddresses();
        this.isDue = true;
        this.adopting ??= this.followAll().finally(() => {
          this.adopting = undefined;
        });
      } catch {
        // A record that cannot be used: it goes on with the last one.
      }
    }
    this.waiters.review();
  }

  // What comes while it follows is followed after it; what fails is tried again. Never rejects.
  private async followAll(): Promise<void> {
    while (this.isDue && this.ended === undefined) {
      this.isDue = false;
      try {
        await this.follow();
        this.trouble = undefined;
      } catch (error) {
        this.trouble = asRdmaError(error);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        this.isDue = true;
      }
    }
  }

  private async follow(): Promise<void> {
    const newest = this.record?.plan;
    if (newest !== null && newest !== undefined && newest.number > this.plans.at(-1)!.number && this.isReady(newest)) {
      // One that leaves this gateway out takes it for dead: it comes back in the next.
      if (!newest.gateways.includes(this.number)) return;
      await this.gateway!.adopt(newest);
      this.plans.push(newest);
      // Others have the names of places that were given up.
      for (const id of stagePlaces(newest)) this.givenUp.delete(placeName(this.app.spec, id));
      // It was lost meanwhile: a plan may have left it out.
      const incarnation = this.membership?.incarnation;
      if (incarnation !== this.incarnation) this.gateway!.admitOlderAgain();
      this.incarnation = incarnation;
      this.tellPlans();
    }
    if (this.hasForgottenPlan()) this.gateway!.admitOlderAgain();
    for (const name of this.lostPlaces()) await this.giveUp(name);
    // What comes meanwhile is looked at while it drains.
    const [oldest, newer] = this.plans;
    if (newer !== undefined) this.retireSoon(oldest!);
  }

  private readonly retiring = new Set<number>();

  private retireSoon(plan: Plan): void {
    if (this.retiring.has(plan.number)) return;
    this.retiring.add(plan.number);
    this.gateway!.retire(plan.number).then(
      () => {
        this.plans = this.plans.filter((each) => each !== plan);
        this.retiring.delete(plan.number);
        this.tellPlans();
        this.review();
      },
      () => this.retiring.delete(plan.number),
    );
  }

  // Whether an older plan is not in the record, though requests are under it here. The store has forgotten the plan, or
  // others have taken this gateway for dead: processes that have begun since do not know it, and take none of its
  // requests.
  private hasForgottenPlan(): boolean {
    const { record, plans } = this;
    const newest = plans.at(-1)!;
    if (record?.plan === null || record === undefined || record.plan.number < newest.number) return false;
    const known = new Set([record.plan, ...record.olderPlans].map(({ number }) => number));
    return plans.some((plan) => plan !== newest && !known.has(plan.number));
  }

  // Places of older plans that never come back: their nodes are lost, or no plan has them. Others may have taken this
  // gateway for dead, and the store may have forgotten a plan.
  private lostPlaces(): string[] {
    const { record, plans, app } = this;
    if (record?.plan === null || record === undefined || record.plan.number < plans.at(-1)!.number) return [];
    const own = plans.slice(0, -1).flatMap((plan) => stagePlaces(plan).map((id) => placeName(app.spec, id)));
    return [...new Set([...record.lost, ...own.filter((name) => record.assignments[name] === undefined)])];
  }

  // Its node is lost, and no newer plan has it.
  private async giveUp(name: string): Promise<void> {
    const newest = this.plans.at(-1)!;
    const id = idOf(this.app, name);
    if (this.givenUp.has(name) || newest.instances[id.stage]?.includes(id.instance) === true) return;
    // From here on nothing that comes of it is taken; then the others may let go of it too.
    const closed = this.gateway!.giveUp(id);
    this.givenUp.add(name);
    this.tellPlans();
    await closed;
  }

  // Whether all places of a plan work under it.
  private isReady(plan: Plan): boolean {
    return this.lateFor(plan).length === 0;
  }

  private lateFor(plan: Plan): string[] {
    const { record, appName, app } = this;
    if (record === undefined) return ['the plan'];
    return stagePlaces(plan)
      .map((id) => placeName(app.spec, id))
      .filter((name) => this.view.report(appName, record, name)?.plans.includes(plan.number) !== true);
  }

  private tellAvailability(): void {
    const { record, gateway, app, appName } = this;
    const newest = this.plans.at(-1);
    if (record === undefined || gateway === undefined || newest === undefined || !this.isLive) return;
    for (const id of stagePlaces(newest)) {
      const name = placeName(app.spec, id);
      const report = this.view.report(appName, record, name);
      const now = availabilityOf(report);
      const text = `${now.state} ${report?.epoch ?? 0} ${report?.readyInMs ?? ''}`;
      if ((this.availability.get(name) ?? `ready ${report?.epoch ?? 0} `) === text) continue;
      this.availability.set(name, text);
      gateway.setAvailability(id, now);
      if (now.state === 'broken') gateway.abandon(id, now.reason);
    }
    newest.instances.forEach((list, stage) => {
      if (list.length === 0) this.tellSleep(gateway, stage, record);
    });
  }

  private tellSleep(gateway: Gateway, stage: number, record: PlanRecord): void {
    const { app, appName } = this;
    const { name } = app.spec.stages[stage]!;
    const woken = record.plan?.instances[stage] ?? [];
    const reports = woken.map((instance) =>
      this.view.report(appName, record, placeName(app.spec, { stage, instance })),
    );
    const startMs = record.startMs?.[name];
    if (startMs !== undefined) this.startMs.set(name, startMs);
    const now = sleepOf(reports, this.startMs.get(name) ?? app.spec.stages[stage]!.scale?.loadMs ?? 0);
    // Only changes are passed on, because the time that a start takes runs from then on.
    const text = `${now.state} ${record.plan?.number} ${reports.map((report) => report?.epoch ?? 0).join()}`;
    const place = `${name}/`;
    if (this.availability.get(place) === text) return;
    this.availability.set(place, text);
    gateway.setSleep(stage, now);
  }

  // @param found what the start waits for
  private whyLate(found: readonly string[]): string {
    const { record, app, appName } = this;
    const seen = record ?? this.view.record(app);
    const words = [`${appName} does not work after ${this.options.startTimeoutMs} ms`, ...found];
    if (seen?.plan === null || seen === undefined) words.push('it has no plan: is a controller there, and a node?');
    else {
      for (const id of stagePlaces(seen.plan)) {
        const name = placeName(app.spec, id);
        const report = this.view.report(appName, seen, name);
        if (report?.state !== 'ready')
          words.push(`${name} is ${report?.state ?? 'not started'}: ${report?.reason ?? ''}`);
      }
    }
    return [...words, ...(seen?.unplaced ?? [])].join('; ');
  }

  // ---- What a pipeline is

  /** @internal */
  override get spec(): WorkflowSpec {
    return this.app.spec;
  }

  /** @internal */
  protected override fail(reason: RdmaError): void {
    super.fail(reason);
    this.options.onFailed(reason);
  }

  /** What this gateway does, and what it knows of the cluster. For operators, not for hot loops. */
  status(): VersionPipelineStatus {
    const { gateway, record, app, appName } = this;
    if (gateway === undefined || record === undefined) throw closedError();
    const places: Record<string, { node: string; state: string; reason: string | null }> = {};
    for (const [name, { node }] of Object.entries(record.assignments)) {
      const report = this.view.report(appName, record, name);
      places[name] = { node, state: report?.state ?? 'unknown', reason: report?.reason ?? null };
    }
    return {
      number: this.number,
      plan: this.plans.at(-1)!,
      olderPlans: this.plans.slice(0, -1),
      gateway: gateway.status(),
      memory: memoryNeeds(graphOf(app.spec), this.plans.at(-1)!, gateway.sizes),
      places,
      unplaced: app === undefined ? [] : record.unplaced,
      control: this.view.failure ?? this.trouble ?? this.reporter?.failure,
    };
  }

  /** @internal */
  protected override async closeAll(): Promise<void> {
    await this.stored.close();
    await this.reporter?.close();
    this.gateway?.fail(closedError());
    await this.membership?.leave().catch(() => {});
    await this.gateway?.close();
    await this.view.close();
  }
}

/**
 * How a stage does of which the newest plan that is in use has no instance.
 *
 * @param reports of its instances in a newer plan; undefined: of one that nobody has started yet
 * @param startMs how long an instance takes to start
 */
function sleepOf(reports: readonly ReturnType<ClusterView['report']>[], startMs: number): Availability {
  const wakeMs = startMs + WAKE_MS;
  if (reports.length === 0) return { state: 'asleep', startMs: wakeMs };
  const all = reports.map(availabilityOf);
  const isBroken = all.every(({ state }) => state === 'broken');
  if (isBroken) return all[0]!;
  return { state: 'starting', readyInMs: wakeMs };
}

function availabilityOf(report: ReturnType<ClusterView['report']>): Availability {
  if (report === undefined) return { state: 'starting' };
  const { state, readyInMs, reason } = report;
  if (state === 'ready') return { state };
  if (state !== 'broken') return { state: 'starting', readyInMs: readyInMs ?? undefined };
  const words = new RdmaError('RDMA_ERR_STAGE_FAILED', reason ?? 'the place is broken');
  return { state, reason: words, retryInMs: readyInMs ?? 1000 };
}

function idOf({ spec }: App, name: string): PlaceId {
  const [stage, instance] = name.split('/');
  return { stage: stageIndex(spec, stage!), instance: Number(instance) };
}
