// A pipeline on this host: a process for every stage instance, started, watched and replaced here.
//
// Invariant: an instance that ends is replaced in its place, under the same name, and those before it send again what
// it had not passed on; so a killed process costs time and no request. More deaths than the budget allows end the
// pipeline with the reason. No process outlives the one that called start().
import { randomBytes } from 'node:crypto';
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkString } from '../core/validate.js';
import {
  type PipelineRequest,
  type PipelineResult,
  // biome-ignore lint/suspicious/noShadowRestrictedNames: the proxy of the design; modules that need the other one do not import this
  Proxy,
  type RequestOptions,
  RESULT,
  type StageEvent,
  type Workflow,
} from '../pipeline/index.js';
import type { FromWorker, Routes, WorkerConfig } from './protocol.js';
import { WorkerProcess } from './worker.js';

/** How to start a pipeline on this host. */
export interface LocalPipelineOptions {
  /** Name of the device that carries the messages; default `soft0`. */
  device?: string;
  /**
   * Requests in the stages at a time, 1 to 256; default 4. Memory is made for twice as many at each stage. No request is
   * let in that is as many places or more behind the oldest in the stages, so more also helps when times differ much.
   */
  maxInFlight?: number;
  /** Requests that may wait to be let in, 0 to 65536; default 256. More are rejected. */
  maxQueued?: number;
  /** How often one instance may be replaced within a minute; default 10. */
  maxRestarts?: number;
  /** How long the whole start may take, in ms; default 60 000. */
  startTimeoutMs?: number;
  /** How long an instance may be away before those that send to it give up, in ms; default 60 000. */
  reconnectMs?: number;
  /** Told what happens. */
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

const RESTART_WINDOW_MS = 60_000;

interface Place {
  stage: string;
  instance: number;
  worker: WorkerProcess | undefined;
  ready: boolean;
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
  private readonly onEvent: (event: PipelineEvent) => void;
  private readonly secret = randomBytes(32).toString('hex');
  private readonly places = new Map<string, Place>();
  private readonly routes: Routes = {};
  private proxy: Proxy | undefined;
  private started = false;
  private failure: RdmaError | undefined;
  private closing: Promise<void> | undefined;
  private onProgress: () => void = () => {};
  private endStart: (reason: RdmaError) => void = () => {};

  private constructor(workflow: Workflow, options: LocalPipelineOptions) {
    this.workflow = workflow;
    this.device = checkString('device', options.device ?? 'soft0', { minLength: 1, maxLength: 64 });
    this.options = {
      device: this.device,
      maxInFlight: checkInteger('maxInFlight', options.maxInFlight ?? 4, 1, 256),
      maxQueued: checkInteger('maxQueued', options.maxQueued ?? 256, 0, 65536),
      maxRestarts: checkInteger('maxRestarts', options.maxRestarts ?? 10, 0, 1000),
      startTimeoutMs: checkInteger('startTimeoutMs', options.startTimeoutMs ?? 60_000, 1, 2 ** 31 - 1),
      reconnectMs: checkInteger('reconnectMs', options.reconnectMs ?? 60_000, 1, 2 ** 31 - 1),
    };
    this.onEvent = options.onEvent ?? (() => {});
    checkFunction('onEvent', this.onEvent);
    if (workflow.stages.length === 0) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `workflow ${workflow.name} has no stages`);
    }
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
    const { device, maxInFlight, maxQueued, reconnectMs, startTimeoutMs } = this.options;
    this.proxy = await Proxy.open({
      workflow: this.workflow,
      device,
      secret: this.secret,
      maxInFlight,
      maxQueued,
      reconnectMs,
      resolve: (target) => this.resolve(target),
      onFailed: (reason) => this.fail(reason),
    });
    this.routes[`${RESULT}/0`] = this.proxy.address;
    for (const { name, instances } of this.workflow.stages) {
      for (let instance = 0; instance < instances; instance++) {
        const place: Place = { stage: name, instance, worker: undefined, ready: false, deaths: [] };
        this.places.set(`${name}/${instance}`, place);
        this.spawn(place);
      }
    }
    await this.connectAll(this.proxy, startTimeoutMs);
    this.started = true;
    this.onEvent({ type: 'ready' });
  }

  // Waits for every instance, then connects the proxy. The time-out and a failure end both.
  private connectAll(proxy: Proxy, timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    return new Promise<void>((resolve, reject) => {
      this.endStart = reject;
      timer = setTimeout(() => {
        const late = [...this.places].filter(([, place]) => !place.ready).map(([name]) => name);
        const who = late.length === 0 ? 'the first stages' : late.join(', ');
        reject(new RdmaError('RDMA_ERR_TIMEOUT', `after ${timeoutMs} ms not ready: ${who}`));
      }, timeoutMs);
      this.onProgress = () => {
        if (![...this.places.values()].every((place) => place.ready)) return;
        this.onProgress = () => {};
        proxy.connect().then(resolve, reject);
      };
      if (this.failure !== undefined) reject(this.failure);
      this.onProgress();
    }).finally(() => {
      clearTimeout(timer);
      this.endStart = () => {};
      this.onProgress = () => {};
    });
  }

  private resolve(target: string): { host: string; port: number } {
    const address = this.routes[target];
    if (address === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `${target} is being replaced`);
    return address;
  }

  private spawn(place: Place): void {
    const { device, maxInFlight, reconnectMs } = this.options;
    const config: WorkerConfig = {
      parentPid: process.pid,
      workflow: this.workflow.name,
      module: this.workflow.module,
      sizes: this.workflow.sizes,
      runtime: {
        stage: place.stage,
        instance: place.instance,
        device,
        secret: this.secret,
        maxInFlight,
        reconnectMs,
      },
    };
    const worker: WorkerProcess = new WorkerProcess(config, {
      onMessage: (message) => this.onMessage(place, message),
      onExit: (reason) => this.onExit(place, worker.failure?.message ?? reason, worker.failure),
    });
    place.worker = worker;
    place.ready = false;
    worker.setRoutes(this.routes);
  }

  private onMessage(place: Place, message: FromWorker): void {
    if (message.type === 'listening') {
      this.routes[`${place.stage}/${place.instance}`] = message.address;
      this.broadcast();
    } else if (message.type === 'ready') {
      place.ready = true;
      this.onProgress();
    } else if (message.type === 'event') {
      this.onEvent({ type: 'stage', stage: place.stage, instance: place.instance, event: message.event });
    }
  }

  private broadcast(): void {
    for (const place of this.places.values()) place.worker?.setRoutes(this.routes);
  }

  private onExit(place: Place, reason: string, failure: RdmaError | undefined): void {
    place.worker = undefined;
    place.ready = false;
    if (this.closing !== undefined || this.failure !== undefined) return;
    const name = `${place.stage}/${place.instance}`;
    delete this.routes[name];
    this.broadcast();
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
    this.onEvent({ type: 'restart', restart });
  }

  private fail(reason: RdmaError): void {
    if (this.failure !== undefined || this.closing !== undefined) return;
    this.failure = reason;
    this.proxy?.fail(reason);
    this.endStart(reason);
  }

  /**
   * Sends one request through the workflow.
   *
   * @throws as Proxy.run; RDMA_ERR_STAGE_FAILED when an instance ended too often
   */
  async run(request: PipelineRequest, options: RequestOptions = {}): Promise<PipelineResult> {
    if (this.failure !== undefined) throw this.failure;
    if (this.closing !== undefined || this.proxy === undefined) {
      throw closedError();
    }
    return this.proxy.run(request, options);
  }

  /** Requests in the stages, and waiting to be let in. */
  get load(): { inFlight: number; queued: number } {
    return this.proxy?.load ?? { inFlight: 0, queued: 0 };
  }

  /** The process of every instance that runs now. */
  get processes(): { stage: string; instance: number; pid: number }[] {
    return [...this.places.values()].flatMap(({ stage, instance, worker }) =>
      worker?.pid === undefined ? [] : [{ stage, instance, pid: worker.pid }],
    );
  }

  /** Ends every process. Requests under way fail with RDMA_ERR_CLOSED. A second call answers the same promise. */
  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    await null; // `closing` is set before anything below looks at it
    this.proxy?.fail(closedError());
    await Promise.all([...this.places.values()].map((place) => place.worker?.stop()));
    await this.proxy?.close();
  }

  /** As {@link LocalPipeline.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function closedError(): RdmaError {
  return new RdmaError('RDMA_ERR_CLOSED', 'the pipeline is closed');
}
