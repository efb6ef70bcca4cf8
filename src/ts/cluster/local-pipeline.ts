// A pipeline on this host: a process for every stage instance, started, watched and replaced here.
//
// Invariant: an instance that ends is replaced in its place, under the same name, and its senders send again what it
// had not passed on; so a killed process costs time but no request, unless the request itself kills it. A place that
// stops working for good costs the requests that need it; a place that never worked costs only the change that added
// it. No process outlives the one that called start().
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
  type RequestOptions,
  stagePlaces,
  type StageEvent,
  systemPipelinePort,
  type TaskEvent,
  type Workflow,
  type WorkflowSpec,
} from '../pipeline/index.js';
import { tellerOf } from '../core/event-teller.js';
import {
  checkPipelineOptions,
  checkStore,
  type LocalPipelineOptions,
  type LocalPipelineStatus,
  type PipelineEvent,
  type PipelineSettings,
} from './local-pipeline-options.js';
import { Places } from './places.js';
import { PlanChanges } from './plan-changes.js';
import { closedError, RunningPipeline } from './running-pipeline.js';
import { stageProcess } from './stage-process.js';
import type { Restart } from './place-state.js';
import { machineRoom, Reservations } from './reservations.js';
import { RestartLog, type RestartTotal } from './restart-log.js';
import { lookMs, Watchman } from './watchman.js';

const GATEWAY_PLACE = `${GATEWAY}/0`;

/** Made by {@link LocalPipeline.start}. */
export class LocalPipeline extends RunningPipeline {
  /** What it runs. */
  readonly workflow: Workflow;
  /** Name of the device that carries the messages. */
  readonly device: string;
  private readonly options: PipelineSettings;
  private readonly onEvent: ((event: PipelineEvent) => void) | undefined;
  private readonly secret = new Secret(randomBytes(32).toString('hex'));
  private readonly restartLog = new RestartLog();
  private readonly places: Places;
  private readonly watchman: Watchman;
  private readonly firstPlan: Plan;
  private reservations: Reservations | undefined;
  private changes: PlanChanges | undefined;
  private started = false;

  private constructor(workflow: Workflow, options: LocalPipelineOptions) {
    const checked = checkPipelineOptions(options);
    super(checkStore(options.store), checked.leaseMs);
    this.workflow = workflow;
    this.options = checked;
    this.device = checked.device;
    const { onEvent } = options;
    this.onEvent = onEvent === undefined ? undefined : tellerOf('onEvent', checkFunction('onEvent', onEvent));
    // Checks the workflow too.
    this.firstPlan = makePlan(workflow.spec, 1);
    this.places = new Places({
      workflow,
      options: this.options,
      secret: this.secret,
      waiters: this.waiters,
      isEnding: () => this.ended !== undefined,
      hasStarted: () => this.started,
      plans: () => ({ plan: this.changes?.plan ?? this.firstPlan, olderPlans: this.changes?.olderPlans ?? [] }),
      onRestart: (restart) => this.onRestart(restart),
      onAvailability: (place, availability) => {
        this.gateway?.setAvailability(place, availability);
        if (availability.state === 'broken') this.gateway?.abandon(place, availability.reason);
      },
      isUnderWay: (request) => this.gateway?.isUnderWay(request) ?? false,
      countTry: (request) => this.gateway?.countTry(request) ?? 0,
      failRequest: (request, reason) => this.gateway?.failRequest(request, reason),
      givesUp: true,
      failuresOf: () => [],
      gone: () => [], // a lost place is replaced here
      cudaDevices: (name) => this.reservations?.cudaDevices(name),
      incarnationAbove: () => 0,
      onLost: (reason) => this.fail(reason),
      onChange: () => {},
    });
    const limitsMs = workflow.spec.stages.flatMap(({ taskTimeoutMs, graceMs }) => [taskTimeoutMs ?? graceMs, graceMs]);
    this.watchman = new Watchman(
      {
        processes: () => this.places.watched(),
        isBusy: () => this.load.inFlight + this.load.queued > 0,
        isWanted: (request) => this.gateway?.isUnderWay(request) ?? false,
      },
      lookMs([this.options.heartbeatMs, ...limitsMs]),
    );
  }

  /**
   * Starts a process for every stage instance and connects them. The processes import the workflow's module: where the
   * same file starts the pipeline, see {@link LocalPipeline.main}.
   *
   * @param workflow exported by the file that it names as its `module`
   * @throws RdmaError RDMA_ERR_NO_DEVICE, also when its stages need GPUs that are not there, with numbers; ENOMEM when
   *   there is not the memory for its lanes and processes, or that its stages need, with the sums;
   *   RDMA_ERR_NOT_SUPPORTED when GPUs are needed and cannot be counted, as there is no Python; RDMA_ERR_STAGE_FAILED
   *   when a process cannot begin, with its reason; RDMA_ERR_STAGE_PROCESS in a process of a stage; RDMA_ERR_TIMEOUT;
   *   RDMA_ERR_INVALID_ARGUMENT; nothing is left running then
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
    const { workflow, places, waiters } = this;
    const { spec } = workflow;
    const { device, maxInFlight, maxQueued, maxQueuedBytes, tenants, reconnectMs, startTimeoutMs, pollUs } =
      this.options;
    const plan = this.firstPlan;
    const reservations = new Reservations(spec, await machineRoom(spec));
    this.reservations = reservations;
    const gateway = await Gateway.open({
      port: systemPipelinePort,
      graph: graphOf(spec),
      self: { stage: -1, instance: 0 },
      incarnation: randomBytes(4).readUInt32LE() || 1,
      plan,
      device,
      secret: this.secret,
      pollUs,
      reconnectMs,
      maxInFlight,
      maxQueued,
      maxQueuedBytes,
      tenants,
      resolve: (target) => places.whereIs(target),
      onFailed: (reason) => this.fail(reason),
      onTask: this.onEvent === undefined ? undefined : (event) => this.onTask(event),
    });
    this.gateway = gateway;
    this.changes = new PlanChanges({ spec, gateway, places, waiters, reservations, startTimeoutMs }, plan);
    places.announce(GATEWAY_PLACE, gateway.address);
    places.startMissing(stagePlaces(plan));
    // The gateway connects while the last stages start.
    const connected = gateway.connect();
    connected.catch(() => {});
    await this.changes.whenReady();
    await connected;
    this.started = true;
    places.limitStarts();
    // What an earlier process has accepted and not finished goes on.
    if (this.stored.isDurable) await this.stored.open();
    this.onEvent?.({ type: 'ready' });
  }

  private onRestart(restart: Restart): void {
    this.restartLog.add(restart);
    this.onEvent?.({ type: 'restart', restart });
  }

  private onTask({ type, request, stage, instance, done = 0, queueUs = 0, computeUs = 0, ...more }: TaskEvent): void {
    let event: StageEvent;
    if (type === 'task') event = { type, request };
    else if (type === 'progress') event = { type, request, done, ...more };
    else event = { type: 'done', request, queueUs, computeUs, failed: type === 'failed' };
    this.onEvent?.({ type: 'stage', stage, instance, event });
  }

  /**
   * Changes how many instances a stage has. New requests use all of them as soon as the new ones are ready; instances
   * that are not wanted any more finish what they have and end. No request fails by it.
   *
   * @param stage its name
   * @param instances 1 to 64
   * @returns when the new plan is in use and the old one has no request any more
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_TIMEOUT when a new instance is not ready within
   *   `startTimeoutMs`, RDMA_ERR_STAGE_FAILED when it ends again and again: there are as many as before then; ENOMEM
   *   when there is no memory for it, RDMA_ERR_NO_DEVICE when there is no GPU; RDMA_ERR_CLOSED, or the error with which
   *   the pipeline has failed
   */
  scale(stage: string, instances: number): Promise<void> {
    const index = this.workflow.spec.stages.findIndex(({ name }) => name === stage);
    if (index < 0) this.workflow.get(stage);
    checkInteger('instances', instances, 1, 64);
    return this.changes?.change(index, instances) ?? Promise.reject(closedError());
  }

  /** @internal */
  protected override get spec(): WorkflowSpec {
    return this.workflow.spec;
  }

  /** @internal */
  protected override runAt(
    gateway: Gateway,
    request: PipelineRequest,
    options?: RequestOptions,
  ): Promise<PipelineResult> {
    this.watchman.wake();
    return super.runAt(gateway, request, options);
  }

  /** The instances that were replaced, in order: the last 256. See `restartTotals` for how many there were. */
  get restarts(): readonly Restart[] {
    return this.restartLog.last;
  }

  /** How often each place was given another process since the start, by why; also places that are not there now. */
  get restartTotals(): readonly RestartTotal[] {
    return this.restartLog.totals;
  }

  /** The process of every instance that runs now. */
  get processes(): { stage: string; instance: number; pid: number }[] {
    return this.places.processes;
  }

  /** What every place is doing; asks all processes. For operators, not for hot loops. */
  async status(): Promise<LocalPipelineStatus> {
    const stages = await this.places.status();
    const { gateway, changes } = this;
    if (changes === undefined) throw closedError();
    const { plan, memory } = changes;
    const { supervision } = this.places;
    return { plan, gateway: this.isClosing ? undefined : gateway?.status(), stages, memory, supervision };
  }

  /** @internal */
  protected override async closeAll(): Promise<void> {
    this.watchman.stop();
    // Before requests fail: they stay in the store.
    await this.stored.close();
    this.gateway?.fail(closedError());
    await this.places.close();
    await this.gateway?.close();
  }
}

function inStageProcess(place: string): RdmaError {
  const text = `this process runs ${place}: the workflow's module starts a pipeline wherever it is imported, also here`;
  return new RdmaError('RDMA_ERR_STAGE_PROCESS', text, {
    remedy: 'start it by LocalPipeline.main(workflow, work), only if stageProcess() is undefined, or from another file',
  });
}
