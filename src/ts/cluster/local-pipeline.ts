// A pipeline on this host: a process for every stage instance, started, watched and replaced here.
//
// Invariant: an instance that ends is replaced in its place, under the same name, and those before it send again what
// it had not passed on; so a killed process costs time and no request. More deaths than the budget allows end the
// pipeline with the reason. No process outlives the one that called start().
import { randomBytes } from 'node:crypto';
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkString } from '../core/validate.js';
import {
  Gateway,
  type GatewayStatus,
  GATEWAY,
  graphOf,
  makePlan,
  type PipelineRequest,
  type PipelineResult,
  type Plan,
  placeName,
  type RequestOptions,
  type StageEvent,
  type StageInstanceStatus,
  stagePlaces,
  systemPipelinePort,
  type TaskEvent,
  type Workflow,
} from '../pipeline/index.js';
import type { InboxAddress } from '../ring/index.js';
import type { FromWorker, Routes, WorkerConfig } from './protocol.js';
import { WorkerProcess } from './worker.js';

/** How to start a pipeline on this host. */
export interface LocalPipelineOptions {
  /** Name of the device that carries the messages; default `soft0`. */
  device?: string;
  /**
   * Requests that may be under way at a time, 1 to 65536; default 1024. How many there are follows from the stages: each
   * instance is given what it runs and a small prefetch, and the rest waits.
   */
  maxInFlight?: number;
  /** Requests that may wait to be admitted, 0 to 65536; default 256. More are rejected. */
  maxQueued?: number;
  /** How often one instance may be replaced within a minute; default 10. */
  maxRestarts?: number;
  /** How long the whole start may take, in ms; default 60 000. */
  startTimeoutMs?: number;
  /** How long an instance may be away before those that send to it give up, in ms; default 60 000. */
  reconnectMs?: number;
  /**
   * How long a process polls after something came before it sleeps, in microseconds, 0 to 10 000; default 100. It polls
   * for that long only while that pays. 0 is for machines whose cores have other work.
   */
  pollUs?: number;
  /** Called with what happens. Without it, stages do not report when tasks begin and how far they are. */
  onEvent?: (event: PipelineEvent) => void;
}

/** What happens in a pipeline. */
export type PipelineEvent =
  | { type: 'ready' }
  | { type: 'stage'; stage: string; instance: number; event: StageEvent }
  | { type: 'restart'; restart: Restart };

/** An instance that ended and was replaced. */
export interface Restart {
  stage: string;
  instance: number;
  reason: string;
  /** Wall clock, in ms since 1970. */
  at: number;
}

/** Answered by {@link LocalPipeline.status}. */
export interface LocalPipelineStatus {
  readonly plan: Plan;
  readonly gateway: GatewayStatus | undefined;
  /** By place (`stage/0`); a process that does not answer within a second is left out. */
  readonly stages: Readonly<Record<string, StageInstanceStatus>>;
}

const RESTART_WINDOW_MS = 60_000;
const STATUS_MS = 1000;
const GATEWAY_PLACE = `${GATEWAY}/0`;

interface Place {
  stage: string;
  instance: number;
  worker: WorkerProcess | undefined;
  ready: boolean;
  /** Plans that its process works under. */
  plans: Set<number>;
  /** It is being ended, as no plan has it any more. */
  leaving: boolean;
  deaths: number[];
}

/** Made by {@link LocalPipeline.start}. */
export class LocalPipeline implements AsyncDisposable {
  /** What it runs. */
  readonly workflow: Workflow;
  /** Name of the device that carries the messages. */
  readonly device: string;
  /** Every instance that was replaced, in order. */
  readonly restarts: Restart[] = [];
  private readonly options: Required<Omit<LocalPipelineOptions, 'onEvent'>>;
  private readonly onEvent: ((event: PipelineEvent) => void) | undefined;
  private readonly secret = randomBytes(32).toString('hex');
  private readonly places = new Map<string, Place>();
  private readonly incarnations = new Map<string, number>(); // by place, also of those that are not there now
  private readonly routes: Routes = {};
  private plan: Plan;
  private olderPlans: Plan[] = [];
  private gateway: Gateway | undefined;
  private started = false;
  private failure: RdmaError | undefined;
  private closing: Promise<void> | undefined;
  private scaling: Promise<unknown> = Promise.resolve();
  private progressWaiters: (() => void)[] = [];
  private statusCalls = 0;
  private readonly statusAnswers = new Map<number, (status: StageInstanceStatus) => void>();

  private constructor(workflow: Workflow, options: LocalPipelineOptions) {
    this.workflow = workflow;
    this.device = checkString('device', options.device ?? 'soft0', { minLength: 1, maxLength: 64 });
    this.options = {
      device: this.device,
      maxInFlight: checkInteger('maxInFlight', options.maxInFlight ?? 1024, 1, 65536),
      maxQueued: checkInteger('maxQueued', options.maxQueued ?? 256, 0, 65536),
      maxRestarts: checkInteger('maxRestarts', options.maxRestarts ?? 10, 0, 1000),
      startTimeoutMs: checkInteger('startTimeoutMs', options.startTimeoutMs ?? 60_000, 1, 2 ** 31 - 1),
      reconnectMs: checkInteger('reconnectMs', options.reconnectMs ?? 60_000, 1, 2 ** 31 - 1),
      pollUs: checkInteger('pollUs', options.pollUs ?? 100, 0, 10_000),
    };
    this.onEvent = options.onEvent === undefined ? undefined : checkFunction('onEvent', options.onEvent);
    this.plan = makePlan(workflow.spec, 1);
  }

  /**
   * Starts a process for every stage instance and connects them.
   *
   * @param workflow exported by the file that it names as its `module`
   * @throws RdmaError RDMA_ERR_NO_DEVICE; RDMA_ERR_STAGE_FAILED when a process cannot begin, with its reason;
   *   RDMA_ERR_TIMEOUT; RDMA_ERR_INVALID_ARGUMENT; nothing is left running then
   */
  static async start(workflow: Workflow, options: LocalPipelineOptions = {}): Promise<LocalPipeline> {
    const pipeline = new LocalPipeline(workflow, options);
    try {
      await pipeline.startAll();
    } catch (error) {
      await pipeline.close();
      throw error;
    }
    return pipeline;
  }

  private async startAll(): Promise<void> {
    const { device, maxInFlight, maxQueued, reconnectMs, startTimeoutMs, pollUs } = this.options;
    this.gateway = await Gateway.open({
      port: systemPipelinePort,
      graph: graphOf(this.workflow.spec),
      self: { stage: -1, instance: 0 },
      incarnation: randomBytes(4).readUInt32LE() || 1,
      plan: this.plan,
      device,
      secret: this.secret,
      pollUs,
      reconnectMs,
      maxInFlight,
      maxQueued,
      resolve: (target) => this.whereIs(target),
      onFailed: (reason) => this.fail(reason),
      onTask: this.onEvent === undefined ? undefined : (event) => this.onTask(event),
    });
    this.routes[GATEWAY_PLACE] = this.gateway.address;
    this.spawnMissing();
    // The gateway connects while the last stages start.
    const connected = this.gateway.connect();
    connected.catch(() => {});
    await this.whenReady(startTimeoutMs);
    await connected;
    this.started = true;
    this.onEvent?.({ type: 'ready' });
  }

  // Starts a process in every place of the plan that has none.
  private spawnMissing(): void {
    this.workflow.spec.stages.forEach(({ name }, index) => {
      for (const instance of this.plan.instances[index]!) {
        const key = `${name}/${instance}`;
        let place = this.places.get(key);
        if (place === undefined) {
          place = {
            stage: name,
            instance,
            worker: undefined,
            ready: false,
            plans: new Set(),
            leaving: false,
            deaths: [],
          };
          this.places.set(key, place);
        }
        if (place.worker === undefined) this.spawn(place);
      }
    });
  }

  // Waits until every place of the newest plan works under it.
  private whenReady(timeoutMs: number): Promise<void> {
    const late = () =>
      [...this.places]
        .filter(([, place]) => !place.leaving && !place.plans.has(this.plan.number))
        .map(([name]) => name);
    return this.until(
      () => late().length === 0,
      timeoutMs,
      () => `after ${timeoutMs} ms not ready: ${late().join(', ')}`,
    );
  }

  private until(condition: () => boolean, timeoutMs: number, words: () => string): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => end(new RdmaError('RDMA_ERR_TIMEOUT', words())), timeoutMs);
      const end = (error?: RdmaError) => {
        clearTimeout(timer);
        this.progressWaiters = this.progressWaiters.filter((waiter) => waiter !== look);
        if (error === undefined) resolve();
        else reject(error);
      };
      const look = () => {
        if (this.failure !== undefined) end(this.failure);
        else if (this.closing !== undefined) end(closedError());
        else if (condition()) end();
      };
      this.progressWaiters.push(look);
      look();
    });
  }

  private onProgress(): void {
    for (const waiter of [...this.progressWaiters]) waiter();
  }

  // Where a place is; while it is being replaced, as soon as it is there again.
  private whereIs(target: string): InboxAddress | Promise<InboxAddress> {
    const address = this.routes[target];
    if (address !== undefined) return address;
    const { reconnectMs, startTimeoutMs } = this.options;
    return this.until(
      () => this.routes[target] !== undefined,
      this.started ? reconnectMs : startTimeoutMs,
      () => `${target} has no process`,
    ).then(() => this.routes[target]!);
  }

  private spawn(place: Place): void {
    const { device, pollUs, reconnectMs } = this.options;
    const name = `${place.stage}/${place.instance}`;
    const incarnation = (this.incarnations.get(name) ?? 0) + 1;
    this.incarnations.set(name, incarnation);
    const config: WorkerConfig = {
      parentPid: process.pid,
      workflow: this.workflow.name,
      module: this.workflow.module,
      sizes: this.workflow.sizes,
      stage: place.stage,
      instance: place.instance,
      incarnation,
      plan: this.plan,
      olderPlans: this.olderPlans,
      device,
      secret: this.secret,
      pollUs,
      reconnectMs,
    };
    place.ready = false;
    place.plans.clear();
    const worker: WorkerProcess = new WorkerProcess(config, {
      onMessage: (message) => this.onMessage(place, config, message),
      onExit: (reason) => this.onExit(place, worker.failure?.message ?? reason, worker.failure),
    });
    place.worker = worker;
    worker.send({ type: 'routes', routes: this.routes });
  }

  private onMessage(place: Place, config: WorkerConfig, message: FromWorker): void {
    if (message.type === 'listening') {
      this.routes[`${place.stage}/${place.instance}`] = message.address;
      this.broadcastRoutes();
    } else if (message.type === 'ready') {
      place.ready = true;
      place.plans = new Set([config.plan, ...config.olderPlans].map((plan) => plan.number));
      // A plan that came while it was starting.
      if (!place.plans.has(this.plan.number)) place.worker?.send({ type: 'adopt', plan: this.plan });
    } else if (message.type === 'adopted') place.plans.add(message.number);
    else if (message.type === 'status') this.statusAnswers.get(message.id)?.(message.status);
    this.onProgress();
  }

  private onTask({ type, request, stage, instance, done = 0, queueUs = 0, computeUs = 0 }: TaskEvent): void {
    let event: StageEvent;
    if (type === 'task') event = { type, request };
    else if (type === 'progress') event = { type, request, done };
    else event = { type: 'done', request, queueUs, computeUs, failed: type === 'failed' };
    this.onEvent?.({ type: 'stage', stage, instance, event });
  }

  private broadcastRoutes(): void {
    for (const place of this.places.values()) place.worker?.send({ type: 'routes', routes: this.routes });
  }

  private onExit(place: Place, reason: string, failure: RdmaError | undefined): void {
    place.worker = undefined;
    place.ready = false;
    place.plans.clear();
    if (this.closing !== undefined || this.failure !== undefined) return;
    const name = `${place.stage}/${place.instance}`;
    delete this.routes[name];
    this.broadcastRoutes();
    if (place.leaving) {
      this.places.delete(name);
      this.onProgress();
      return;
    }
    // A process that says before the first request why it cannot work will say so again.
    if (failure !== undefined && !this.started) {
      this.fail(failure);
      return;
    }
    const now = Date.now();
    place.deaths = [...place.deaths.filter((at) => now - at < RESTART_WINDOW_MS), now];
    if (place.deaths.length > this.options.maxRestarts) {
      const words = `stage ${name} ended ${place.deaths.length} times within a minute, the last time by ${reason}`;
      this.fail(new RdmaError('RDMA_ERR_STAGE_FAILED', words, { remedy: 'see what it printed, or raise maxRestarts' }));
      return;
    }
    const restart: Restart = { stage: place.stage, instance: place.instance, reason, at: now };
    this.restarts.push(restart);
    try {
      this.spawn(place);
    } catch (error) {
      this.fail(new RdmaError('RDMA_ERR_STAGE_FAILED', `stage ${name} cannot be started again: ${String(error)}`));
      return;
    }
    this.onEvent?.({ type: 'restart', restart });
  }

  private fail(reason: RdmaError): void {
    if (this.failure !== undefined || this.closing !== undefined) return;
    this.failure = reason;
    this.gateway?.fail(reason);
    this.onProgress();
  }

  /**
   * Changes how many instances a stage has. New requests use all of them as soon as the new ones are ready; instances
   * that are not wanted any more finish what they have and end. No request fails by it.
   *
   * @param stage its name
   * @param instances 1 to 64
   * @returns when the new plan is in use and the old one has no request any more
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_TIMEOUT when a new instance is not ready within
   *   `startTimeoutMs`; RDMA_ERR_CLOSED, or the error with which the pipeline has failed
   */
  scale(stage: string, instances: number): Promise<void> {
    const index = this.workflow.spec.stages.findIndex(({ name }) => name === stage);
    if (index < 0) this.workflow.get(stage);
    checkInteger('instances', instances, 1, 64);
    const change = this.scaling.then(() => this.changePlan(index, instances));
    this.scaling = change.catch(() => {});
    return change;
  }

  private async changePlan(index: number, count: number): Promise<void> {
    const { gateway } = this;
    if (this.failure !== undefined) throw this.failure;
    if (this.closing !== undefined || gateway === undefined) throw closedError();
    const old = this.plan;
    if (old.instances[index]!.length !== count) {
      const wanted = old.instances.map((list, i) => (i === index ? Array.from({ length: count }, (_, n) => n) : list));
      this.plan = makePlan(this.workflow.spec, old.number + 1, wanted, old.gateways);
      // More than one when a change before did not come to its end.
      this.olderPlans = [...this.olderPlans, old];
      this.spawnMissing();
      for (const place of this.places.values()) if (place.ready) place.worker?.send({ type: 'adopt', plan: this.plan });
    }
    if (this.olderPlans.length === 0) return;
    await this.whenReady(this.options.startTimeoutMs);
    await gateway.adopt(this.plan);
    for (const { number } of this.olderPlans) await gateway.retire(number);
    const retired = this.olderPlans;
    this.olderPlans = [];
    for (const place of this.places.values()) {
      for (const { number } of retired) place.worker?.send({ type: 'retire', number });
    }
    await this.endLeaving();
  }

  private async endLeaving(): Promise<void> {
    const wanted = new Set(stagePlaces(this.plan).map((place) => placeName(this.workflow.spec, place)));
    const leaving = [...this.places].flatMap(([name, place]) => (wanted.has(name) ? [] : [place]));
    for (const place of leaving) place.leaving = true;
    await Promise.all(leaving.map((place) => place.worker?.stop()));
  }

  /**
   * Sends one request through the workflow.
   *
   * @throws as Gateway.run; RDMA_ERR_STAGE_FAILED when an instance ended too often
   */
  run(request: PipelineRequest, options: RequestOptions = {}): Promise<PipelineResult> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    if (this.closing !== undefined || this.gateway === undefined) return Promise.reject(closedError());
    return this.gateway.run(request, options);
  }

  /** Requests in the stages, and waiting to be admitted. */
  get load(): { inFlight: number; queued: number } {
    return this.gateway?.load ?? { inFlight: 0, queued: 0 };
  }

  /** The process of every instance that runs now. */
  get processes(): { stage: string; instance: number; pid: number }[] {
    return [...this.places.values()].flatMap(({ stage, instance, worker }) =>
      worker?.pid === undefined ? [] : [{ stage, instance, pid: worker.pid }],
    );
  }

  /** What every place is doing; asks all processes. For operators, not for hot loops. */
  async status(): Promise<LocalPipelineStatus> {
    const stages: Record<string, StageInstanceStatus> = {};
    const asked = [...this.places].filter(([, place]) => place.ready);
    await Promise.all(
      asked.map(async ([name, place]) => {
        const status = await this.statusOf(place);
        if (status !== undefined) stages[name] = status;
      }),
    );
    return { plan: this.plan, gateway: this.closing === undefined ? this.gateway?.status() : undefined, stages };
  }

  private statusOf(place: Place): Promise<StageInstanceStatus | undefined> {
    const id = ++this.statusCalls;
    return new Promise((resolve) => {
      const end = (status?: StageInstanceStatus) => {
        clearTimeout(timer);
        this.statusAnswers.delete(id);
        resolve(status);
      };
      const timer = setTimeout(end, STATUS_MS);
      this.statusAnswers.set(id, end);
      place.worker?.send({ type: 'status', id });
    });
  }

  /** Ends every process. Requests under way fail with RDMA_ERR_CLOSED. A second call answers the same promise. */
  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    await null; // `closing` is set before anything below looks at it
    this.onProgress();
    this.gateway?.fail(closedError());
    await Promise.all([...this.places.values()].map((place) => place.worker?.stop()));
    await this.gateway?.close();
  }

  /** As {@link LocalPipeline.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function closedError(): RdmaError {
  return new RdmaError('RDMA_ERR_CLOSED', 'the pipeline is closed');
}
