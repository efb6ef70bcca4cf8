// A pipeline on this host: a process for every stage instance, started, watched and replaced here.
//
// Invariant: an instance that ends is replaced in its place, under the same name, and those before it send again what
// it had not passed on; so a killed process costs time and no request. A place that does not work again ends the
// pipeline with the reason; one that never did, only the change that wanted it. No process outlives the one that called
// start().
import { randomBytes } from 'node:crypto';
import { RdmaError } from '../core/errors.js';
import { Secret } from '../core/secret.js';
import { checkFunction, checkInteger } from '../core/validate.js';
import {
  Gateway,
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
import { tellerOf } from './event-teller.js';
import {
  checkPipelineOptions,
  type LocalPipelineOptions,
  type LocalPipelineStatus,
  type PipelineEvent,
  type PipelineSettings,
} from './local-pipeline-options.js';
import { checkMemory, memoryNeeds, type PipelineMemory } from './memory-needs.js';
import type { FromWorker, Routes, WorkerConfig } from './protocol.js';
import { stageProcess } from './stage-process.js';
import { StatusCalls } from './status-calls.js';
import { type PlaceHost, type Restart, SupervisedPlace } from './supervised-place.js';
import { Waiters } from './waiters.js';

const GATEWAY_PLACE = `${GATEWAY}/0`;

/** Made by {@link LocalPipeline.start}. */
export class LocalPipeline implements AsyncDisposable {
  /** What it runs. */
  readonly workflow: Workflow;
  /** Name of the device that carries the messages. */
  readonly device: string;
  /** Every instance that was replaced, in order. */
  readonly restarts: Restart[] = [];
  private readonly options: PipelineSettings;
  private readonly onEvent: ((event: PipelineEvent) => void) | undefined;
  private readonly secret = new Secret(randomBytes(32).toString('hex'));
  private readonly places = new Map<string, SupervisedPlace>();
  private readonly incarnations = new Map<string, number>(); // by place, also of those that are not there now
  private readonly routes: Routes = {};
  private plan: Plan;
  private olderPlans: Plan[] = [];
  private gateway: Gateway | undefined;
  private memory: PipelineMemory = { lanes: 0, laneBytes: 0, processes: 0, processBytes: 0 };
  private started = false;
  private failure: RdmaError | undefined;
  private closing: Promise<void> | undefined;
  private scaling: Promise<unknown> = Promise.resolve();
  private readonly waiters = new Waiters(() => this.ended);
  private readonly statusCalls = new StatusCalls();
  private readonly placeHost: PlaceHost = {
    limits: () => this.options,
    isEnding: () => this.ended !== undefined,
    hasStarted: () => this.started,
    configOf: (place) => this.configOf(place),
    onMessage: (place, message) => this.onMessage(place, message),
    onGone: (place) => this.onGone(place),
    onRestart: (restart) => this.onRestart(restart),
    onGivenUp: (place, reason) => this.onGivenUp(place, reason),
  };

  private constructor(workflow: Workflow, options: LocalPipelineOptions) {
    this.workflow = workflow;
    this.options = checkPipelineOptions(options);
    this.device = this.options.device;
    const { onEvent } = options;
    this.onEvent = onEvent === undefined ? undefined : tellerOf('onEvent', checkFunction('onEvent', onEvent));
    this.plan = makePlan(workflow.spec, 1);
  }

  /**
   * Starts a process for every stage instance and connects them. The processes import the workflow's module: where the
   * same file starts the pipeline, see {@link LocalPipeline.main}.
   *
   * @param workflow exported by the file that it names as its `module`
   * @throws RdmaError RDMA_ERR_NO_DEVICE; ENOMEM when there is not the memory for its lanes and processes, with the
   *   sums; RDMA_ERR_STAGE_FAILED when a process cannot begin, with its reason;
   *   RDMA_ERR_STAGE_PROCESS in a process of a stage; RDMA_ERR_TIMEOUT; RDMA_ERR_INVALID_ARGUMENT; nothing is left
   *   running then
   */
  static async start(workflow: Workflow, options: LocalPipelineOptions = {}): Promise<LocalPipeline> {
    const place = stageProcess();
    if (place !== undefined) throw inStageProcess(place);
    const pipeline = new LocalPipeline(workflow, options);
    try {
      await pipeline.startAll();
    } catch (error) {
      await pipeline.close();
      throw error;
    }
    return pipeline;
  }

  /**
   * Starts a pipeline, does something with it and closes it; in a process of a stage it does nothing. So the file that
   * exports the workflow may be the program too, whoever imports it.
   *
   * @param work gets the pipeline, which is closed when it has ended
   * @returns what `work` answers; undefined in a process of a stage
   * @throws as {@link LocalPipeline.start}; what `work` throws
   */
  static async main<T>(
    workflow: Workflow,
    work: (pipeline: LocalPipeline) => Promise<T> | T,
    options: LocalPipelineOptions = {},
  ): Promise<T | undefined> {
    checkFunction('work', work);
    if (stageProcess() !== undefined) return undefined;
    const pipeline = await LocalPipeline.start(workflow, options);
    try {
      return await work(pipeline);
    } finally {
      await pipeline.close();
    }
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
    this.memory = this.memoryOf(this.plan);
    checkMemory(this.memory);
    this.spawnMissing();
    // The gateway connects while the last stages start.
    const connected = this.gateway.connect();
    connected.catch(() => {});
    await this.whenReady(startTimeoutMs);
    await connected;
    this.started = true;
    for (const place of this.places.values()) place.limitStart();
    this.onEvent?.({ type: 'ready' });
  }

  // Starts a process in every place of the plan that has none.
  private spawnMissing(): void {
    this.workflow.spec.stages.forEach(({ name }, index) => {
      for (const instance of this.plan.instances[index]!) {
        const key = `${name}/${instance}`;
        let place = this.places.get(key);
        if (place === undefined || place.givenUp !== undefined) {
          place = new SupervisedPlace(this.placeHost, name, instance);
          this.places.set(key, place);
        }
        place.start();
      }
    });
  }

  // Waits until every place of the newest plan works under it.
  private whenReady(timeoutMs: number): Promise<void> {
    const late = () => {
      const places = [...this.places.values()].filter((place) => !place.leaving);
      const lost = places.find((place) => place.givenUp !== undefined);
      if (lost?.givenUp !== undefined) throw lost.givenUp;
      return places.filter((place) => !place.plans.has(this.plan.number)).map(({ name }) => name);
    };
    return this.waiters.until(
      () => late().length === 0,
      timeoutMs,
      () => `after ${timeoutMs} ms not ready: ${late().join(', ')}`,
    );
  }

  // Why nobody waits for anything any more.
  private get ended(): RdmaError | undefined {
    return this.failure ?? (this.closing === undefined ? undefined : closedError());
  }

  // Where a place is; while it is being replaced, as soon as it is there again.
  private whereIs(target: string): InboxAddress | Promise<InboxAddress> {
    const address = this.routes[target];
    if (address !== undefined) return address;
    return this.waiters.until(() => this.routes[target] !== undefined).then(() => this.routes[target]!);
  }

  private configOf({ name, stage, instance }: SupervisedPlace): WorkerConfig {
    const { device, pollUs, reconnectMs } = this.options;
    const incarnation = (this.incarnations.get(name) ?? 0) + 1;
    this.incarnations.set(name, incarnation);
    return {
      parentPid: process.pid,
      workflow: this.workflow.name,
      module: this.workflow.module,
      sizes: this.workflow.sizes,
      stage,
      instance,
      incarnation,
      plan: this.plan,
      olderPlans: this.olderPlans,
      device,
      secret: this.secret.reveal(),
      pollUs,
      reconnectMs,
      routes: this.routes,
    };
  }

  private onMessage(place: SupervisedPlace, message: FromWorker): void {
    if (message.type === 'listening') {
      this.routes[place.name] = message.address;
      this.broadcastRoutes();
    } else if (message.type === 'ready') {
      // A plan that came while it was starting.
      if (!place.plans.has(this.plan.number)) place.send({ type: 'adopt', plan: this.plan });
    } else if (message.type === 'status') this.statusCalls.answer(message.id, message.status);
    this.waiters.look();
  }

  private onGone(place: SupervisedPlace): void {
    delete this.routes[place.name];
    this.broadcastRoutes();
    if (place.leaving && this.places.get(place.name) === place) this.places.delete(place.name);
    this.waiters.look();
  }

  private onRestart(restart: Restart): void {
    this.restarts.push(restart);
    this.onEvent?.({ type: 'restart', restart });
  }

  private onGivenUp(place: SupervisedPlace, reason: RdmaError): void {
    // Nobody works with a newcomer yet: it ends the change that wanted it.
    if (this.started && !place.wasReady) this.waiters.look();
    else this.fail(reason);
  }

  private onTask({ type, request, stage, instance, done = 0, queueUs = 0, computeUs = 0 }: TaskEvent): void {
    let event: StageEvent;
    if (type === 'task') event = { type, request };
    else if (type === 'progress') event = { type, request, done };
    else event = { type: 'done', request, queueUs, computeUs, failed: type === 'failed' };
    this.onEvent?.({ type: 'stage', stage, instance, event });
  }

  private broadcastRoutes(): void {
    for (const place of this.places.values()) place.send({ type: 'routes', routes: this.routes });
  }

  private fail(reason: RdmaError): void {
    if (this.failure !== undefined || this.closing !== undefined) return;
    this.failure = reason;
    this.gateway?.fail(reason);
    this.waiters.look();
  }

  // ---- Plans

  /**
   * Changes how many instances a stage has. New requests use all of them as soon as the new ones are ready; instances
   * that are not wanted any more finish what they have and end. No request fails by it.
   *
   * @param stage its name
   * @param instances 1 to 64
   * @returns when the new plan is in use and the old one has no request any more
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_TIMEOUT when a new instance is not ready within
   *   `startTimeoutMs`, RDMA_ERR_STAGE_FAILED when it ends again and again: there are as many as before then;
   *   ENOMEM when there is no memory for it; RDMA_ERR_CLOSED, or the error with which the pipeline has failed
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
    if (this.ended !== undefined) throw this.ended;
    const { instances } = this.plan;
    const wanted = instances.map((list, i) => (i === index ? Array.from({ length: count }, (_, n) => n) : list));
    if (instances[index]!.length !== count) this.nextPlan(wanted);
    try {
      await this.settle();
    } catch (error) {
      // Nothing was admitted under a plan that not all places have.
      if (this.ended === undefined && this.plan.instances !== instances) await this.takeBack(instances);
      throw error;
    }
  }

  private nextPlan(instances: readonly (readonly number[])[]): void {
    const old = this.plan;
    const plan = makePlan(this.workflow.spec, old.number + 1, instances, old.gateways);
    const memory = this.memoryOf(plan);
    checkMemory(memory, this.memory);
    this.plan = plan;
    this.memory = memory;
    // More than one when a change before did not come to its end.
    this.olderPlans = [...this.olderPlans, old];
    this.spawnMissing();
    for (const place of this.places.values()) if (place.ready) place.send({ type: 'adopt', plan: this.plan });
  }

  private memoryOf(plan: Plan): PipelineMemory {
    return memoryNeeds(graphOf(this.workflow.spec), plan, this.gateway!.sizes);
  }

  // Waits for the newest plan, and lets go of all others.
  private async settle(): Promise<void> {
    const { gateway } = this;
    if (this.olderPlans.length === 0 || gateway === undefined) return;
    await this.whenReady(this.options.startTimeoutMs);
    await gateway.adopt(this.plan);
    for (const { number } of this.olderPlans) await gateway.retire(number);
    const retired = this.olderPlans;
    this.olderPlans = [];
    for (const place of this.places.values()) {
      for (const { number } of retired) place.send({ type: 'retire', number });
    }
    await this.endLeaving();
  }

  // After a change that came to nothing there are the instances of before, under a plan of its own number.
  private async takeBack(instances: readonly (readonly number[])[]): Promise<void> {
    const failed = this.plan;
    this.nextPlan(instances);
    this.olderPlans = this.olderPlans.filter((plan) => plan !== failed);
    await this.endLeaving();
    try {
      await this.settle();
    } catch {
      return; // The next change begins there; the caller gets the error of the first one.
    }
    for (const place of this.places.values()) place.send({ type: 'retire', number: failed.number });
  }

  private async endLeaving(): Promise<void> {
    const wanted = new Set(stagePlaces(this.plan).map((place) => placeName(this.workflow.spec, place)));
    const leaving = [...this.places].flatMap(([name, place]) => (wanted.has(name) ? [] : [place]));
    await Promise.all(leaving.map((place) => place.stop()));
    // Of those that had no process, nobody else says that they are gone.
    for (const place of leaving) if (this.places.get(place.name) === place) this.places.delete(place.name);
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
    return [...this.places.values()].flatMap(({ stage, instance, pid }) =>
      pid === undefined ? [] : [{ stage, instance, pid }],
    );
  }

  /** What every place is doing; asks all processes. For operators, not for hot loops. */
  async status(): Promise<LocalPipelineStatus> {
    const stages: Record<string, StageInstanceStatus> = {};
    const asked = [...this.places].filter(([, place]) => place.ready);
    await Promise.all(
      asked.map(async ([name, place]) => {
        const status = await this.statusCalls.ask((id) => place.send({ type: 'status', id }));
        if (status !== undefined) stages[name] = status;
      }),
    );
    const gateway = this.closing === undefined ? this.gateway?.status() : undefined;
    return { plan: this.plan, gateway, stages, memory: this.memory };
  }

  /** Ends every process. Requests under way fail with RDMA_ERR_CLOSED. A second call answers the same promise. */
  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    await null; // `closing` is set before anything below looks at it
    this.waiters.look();
    this.gateway?.fail(closedError());
    await Promise.all([...this.places.values()].map((place) => place.stop()));
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

function inStageProcess(place: string): RdmaError {
  const words = `this process runs ${place}: the workflow's module starts a pipeline wherever it is imported, also here`;
  return new RdmaError('RDMA_ERR_STAGE_PROCESS', words, {
    remedy: 'start it by LocalPipeline.main(workflow, work), only if stageProcess() is undefined, or from another file',
  });
}
