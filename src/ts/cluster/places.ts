// The places of a pipeline that run on this host: it keeps their processes and addresses, and sends each process its
// messages.
//
// Invariant: every process knows the address of every place that has one; a place that no plan has any more ends and is
// forgotten. Each process in a place has a larger number than all earlier processes there.
import type { RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import {
  type Availability,
  type PlaceId,
  type Plan,
  placeName,
  type StageInstanceStatus,
  type StageSpec,
  stageIndex,
  stagePlaces,
  type Workflow,
  type PlaceAddress,
} from '../pipeline/index.js';
import { Blame, type BlameHost } from './blame.js';
import type { PipelineSettings } from './local-pipeline-options.js';
import type { WatchLimits } from './place-watch.js';
import type { FromWorker, RequestFailure, Routes, ToWorker, WorkerConfig } from './protocol.js';
import type { Restart, SupervisionStatus } from './place-state.js';
import { StatusCalls } from './status-calls.js';
import { type PlaceHost, SupervisedPlace } from './supervised-place.js';
import type { Waiters } from './waiters.js';
import type { Watched } from './watchman.js';

/** How processes are started and held. */
export type PlacesSettings = Pick<
  PipelineSettings,
  'device' | 'maxRestarts' | 'startTimeoutMs' | 'reconnectMs' | 'pollUs' | 'heartbeatMs'
> & {
  /** Devices beside that one; default none. */
  readonly otherDevices?: readonly string[];
  /** The address of this host that other hosts reach; default: they reach none. */
  readonly listenHost?: string | undefined;
  /** The folder of this node's certificate; default: no TLS. */
  readonly tlsDir?: string | undefined;
};

/** What the places ask of their pipeline. */
export interface PlacesHost extends BlameHost {
  readonly workflow: Pick<Workflow, 'name' | 'module' | 'sizes' | 'spec'>;
  readonly options: PlacesSettings;
  readonly secret: Secret<string>;
  readonly waiters: Waiters;
  isEnding(): boolean;
  hasStarted(): boolean;
  /** Under which a process begins: the newest, and those before it that requests are under. */
  plans(): { plan: Plan; olderPlans: Plan[] };
  onRestart(restart: Restart): void;
  /** Whether a place works has changed. */
  onAvailability(place: PlaceId, availability: Availability): void;
  /**
   * Whether a place that never worked is given up when its budget is spent; otherwise it is broken, and tried again.
   */
  readonly givesUp: boolean;
  /** Places and gateways that only older plans have, and that do not come back. */
  gone(): readonly string[];
  /** What a new process in a place tells gateways, as this host cannot. */
  failuresOf(stage: string): readonly RequestFailure[];
  /** CUDA_VISIBLE_DEVICES for the process of a place; undefined: as this process has it. @throws RDMA_ERR_NO_DEVICE */
  cudaDevices(name: string): string | undefined;
  /** The number of each process of a place is above this. */
  incarnationAbove(name: string): number;
  /** The pipeline cannot start: a place of it does not. */
  onLost(reason: RdmaError): void;
  /** Something has changed that status answers. */
  onChange(): void;
}

/** A stage in Python ends its Python process itself, and has so long for it, in ms, before it is ended. */
const PYTHON_MS = 5000;

export class Places {
  private readonly host: PlacesHost;
  private readonly places = new Map<string, SupervisedPlace>();
  private readonly incarnations = new Map<string, number>(); // by place, also of those that are not there now
  private readonly routes: Routes = {};
  private readonly statusCalls = new StatusCalls();
  private readonly placeHost: PlaceHost;
  private readonly blame: Blame;

  constructor(host: PlacesHost) {
    this.host = host;
    this.blame = new Blame(host);
    this.placeHost = {
      limits: () => host.options,
      watchLimits: (stage) => ({ heartbeatMs: host.options.heartbeatMs, ...watchedLimits(this.specOf(stage)) }),
      isEnding: () => host.isEnding(),
      hasStarted: () => host.hasStarted(),
      givesUp: host.givesUp,
      isIncomplete: (place) => this.isIncomplete(place),
      configOf: (place) => this.configOf(place),
      onMessage: (place, message) => this.onMessage(place, message),
      onDeath: ({ stage }, tasks, verdict, reason) => {
        const { attempts } = this.specOf(stage);
        const finding = this.blame.died({ stage, attempts, tasks, verdict, reason });
        // Other instances of its stage may get the request too.
        if (tasks.length > 0) this.tell({ type: 'suspects', requests: this.blame.suspects });
        return finding;
      },
      onGone: (place) => this.onGone(place),
      onRestart: (restart) => host.onRestart(restart),
      onAvailability: (place, availability) => this.onAvailability(place, availability),
      onGivenUp: (place, reason) => this.onGivenUp(place, reason),
    };
  }

  // ---- Processes

  /** Starts a process in each of these places that has none; those of a plan. */
  startMissing(wanted: readonly PlaceId[]): void {
    for (const { stage: index, instance } of wanted) {
      const stage = this.host.workflow.spec.stages[index]!.name;
      const name = `${stage}/${instance}`;
      let place = this.places.get(name);
      if (place === undefined || place.givenUp !== undefined) {
        place = new SupervisedPlace(this.placeHost, stage, instance);
        this.places.set(name, place);
      }
      place.start();
    }
  }

  /** The pipeline has started: from now on each process has its own time to become ready. */
  limitStarts(): void {
    for (const place of this.places.values()) place.limitStart();
  }

  /** The process of every instance that runs now. */
  get processes(): { stage: string; instance: number; pid: number }[] {
    return [...this.places.values()].flatMap(({ stage, instance, pid }) =>
      pid === undefined ? [] : [{ stage, instance, pid }],
    );
  }

  /** The places of a plan that do not work under it yet. @throws why one of them will not, or not soon */
  lateFor(plan: Plan): SupervisedPlace[] {
    const places = stagePlaces(plan).map((id) => this.places.get(placeName(this.host.workflow.spec, id))!);
    for (const { givenUp, broken } of places) {
      const reason = givenUp ?? broken;
      if (reason !== undefined) throw reason;
    }
    return places.filter((place) => !place.plans.has(plan.number));
  }

  private specOf(stage: string): StageSpec {
    return this.host.workflow.spec.stages.find(({ name }) => name === stage)!;
  }

  /** Every process, to be looked at from outside. */
  watched(): Watched[] {
    return [...this.places.values()].flatMap(({ watched }) => watched ?? []);
  }

  /** How each place does, and how often its process was replaced. */
  get supervision(): Record<string, SupervisionStatus> {
    return Object.fromEntries([...this.places].map(([name, { status }]) => [name, status]));
  }

  /** Ends all places but these. */
  async endOthers(kept: readonly PlaceId[]): Promise<void> {
    const wanted = new Set(kept.map((place) => placeName(this.host.workflow.spec, place)));
    const leaving = [...this.places].flatMap(([name, place]) => (wanted.has(name) ? [] : [place]));
    await Promise.all(leaving.map((place) => place.stop()));
    for (const place of leaving) this.forget(place);
  }

  /** Ends all. */
  async close(): Promise<void> {
    await Promise.all([...this.places.values()].map((place) => place.stop()));
  }

  // Another one may have its name by now.
  private forget(place: SupervisedPlace): void {
    if (this.places.get(place.name) === place) this.places.delete(place.name);
  }

  // ---- What they get, and what they report

  /** Tells every process, or only those that are ready, or not yet. */
  tell(message: ToWorker, to: 'all' | 'ready' | 'starting' = 'all'): void {
    for (const place of this.places.values()) if (to === 'all' || place.ready === (to === 'ready')) place.send(message);
  }

  /** Where a place is now; undefined: it is being replaced. */
  announce(name: string, address: PlaceAddress | undefined): void {
    if (address === undefined) delete this.routes[name];
    else this.routes[name] = address;
    this.tell({ type: 'routes', routes: this.routes });
  }

  /** Where a place is known to be. */
  addressOf(name: string): PlaceAddress | undefined {
    return this.routes[name];
  }

  /** Every place here. */
  list(): SupervisedPlace[] {
    return [...this.places.values()];
  }

  /** Where a place is; while it is being replaced, as soon as it is there again. */
  whereIs(name: string): PlaceAddress | Promise<PlaceAddress> {
    const address = this.routes[name];
    if (address !== undefined) return address;
    return this.host.waiters.until(() => this.routes[name] !== undefined).then(() => this.routes[name]!);
  }

  /** What every place is doing; one that does not answer within a second is left out. */
  async status(): Promise<Record<string, StageInstanceStatus>> {
    const stages: Record<string, StageInstanceStatus> = {};
    const asked = [...this.places].filter(([, place]) => place.ready);
    await Promise.all(
      asked.map(async ([name, place]) => {
        const status = await this.statusCalls.ask((id) => place.send({ type: 'status', id }));
        if (status !== undefined) stages[name] = status;
      }),
    );
    return stages;
  }

  private isIncomplete(place: SupervisedPlace): boolean {
    const { plan } = this.host.plans();
    const names = stagePlaces(plan).map((id) => placeName(this.host.workflow.spec, id));
    return names.some((name) => name !== place.name && this.routes[name] === undefined);
  }

  private configOf({ name, stage, instance }: SupervisedPlace): WorkerConfig {
    const { workflow, options, secret } = this.host;
    const { device, otherDevices = [], listenHost, tlsDir, pollUs, reconnectMs, heartbeatMs } = options;
    const incarnation = Math.max(this.incarnations.get(name) ?? 0, this.host.incarnationAbove(name)) + 1;
    this.incarnations.set(name, incarnation);
    return {
      parentPid: process.pid,
      workflow: workflow.name,
      module: workflow.module,
      sizes: workflow.sizes,
      spec: workflow.spec,
      stage,
      instance,
      incarnation,
      ...this.host.plans(),
      device,
      otherDevices,
      listenHost,
      tlsDir,
      secret: secret.reveal(),
      pollUs,
      reconnectMs,
      heartbeatMs,
      cudaDevices: this.host.cudaDevices(name),
      routes: this.routes,
      gone: this.host.gone(),
      barred: this.blame.barred,
      suspects: this.blame.suspects,
      failures: this.host.failuresOf(stage),
    };
  }

  private onAvailability({ stage, instance }: SupervisedPlace, availability: Availability): void {
    this.host.onAvailability({ stage: stageIndex(this.host.workflow.spec, stage), instance }, availability);
    this.host.onChange();
    this.host.waiters.review();
  }

  private onMessage(place: SupervisedPlace, message: FromWorker): void {
    const { plan } = this.host.plans();
    if (message.type === 'listening') this.announce(place.name, message.address);
    else if (message.type === 'status') this.statusCalls.answer(message.id, message.status);
    // A plan that came while it was starting.
    else if (message.type === 'ready' && !place.plans.has(plan.number)) place.send({ type: 'adopt', plan });
    this.host.onChange();
    this.host.waiters.review();
  }

  private onGone(place: SupervisedPlace): void {
    delete this.routes[place.name];
    this.tell({ type: 'routes', routes: this.routes });
    if (place.leaving) this.forget(place);
    this.host.onChange();
    this.host.waiters.review();
  }

  private onGivenUp(place: SupervisedPlace, reason: RdmaError): void {
    // Nobody works with a newcomer yet: it ends the change that wanted it.
    if (this.host.hasStarted() && !place.wasReady) this.host.waiters.review();
    else this.host.onLost(reason);
  }
}

function watchedLimits({ taskTimeoutMs, graceMs, python }: StageSpec): Omit<WatchLimits, 'heartbeatMs'> {
  return { taskTimeoutMs, graceMs: python === undefined ? graceMs : graceMs + PYTHON_MS };
}
