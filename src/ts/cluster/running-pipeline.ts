// The interface of every pipeline, wherever its stages are: requests, jobs, and an end.
//
// Invariant: once it has failed or is closing, every request is rejected with the reason; a second close() waits for
// the first. Requests of a durable store go through the store, so that another process can finish them.
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkObject } from '../core/validate.js';
import type { Job, JobFilter, JobRecord, JobRunner, JobStorage, SubmitOptions } from '../jobs/index.js';
import {
  type Gateway,
  graphOf,
  type PipelineRequest,
  type PipelineResult,
  type RequestOptions,
  RequestStream,
  type StreamOptions,
  type WorkflowSpec,
} from '../pipeline/index.js';
import { PipelineJobs } from './pipeline-jobs.js';
import { RequestWatch, type RequestWatcher } from './request-watch.js';
import { Waiters } from './waiters.js';

/** A pipeline that runs: a {@link LocalPipeline}, or a {@link ClusterPipeline}. */
export abstract class RunningPipeline implements AsyncDisposable {
  /** @internal */
  protected readonly waiters = new Waiters(() => this.ended);
  /** @internal */
  protected readonly stored: PipelineJobs;
  /** @internal Once it is open. */
  protected gateway: Gateway | undefined;
  private readonly requests = new RequestWatch();
  private failure: RdmaError | undefined;
  private closing: Promise<void> | undefined;

  /** @internal @param store undefined: one in memory */
  protected constructor(store: JobStorage | undefined, leaseMs: number) {
    const publishes = () => publishesPieces(this.spec);
    const runner: JobRunner = {
      get streams() {
        return publishes();
      },
      run: (request, options) => this.runNow(request, options),
      check: (bytes, options) => this.checkAt(bytes, options),
    };
    this.stored = new PipelineJobs(runner, store, leaseMs, closedError);
  }

  /** @internal Of what it runs. */
  protected abstract get spec(): WorkflowSpec;

  /** @internal Closes what was opened, the store's service first: requests that fail after it stay in the store. */
  protected abstract closeAll(): Promise<void>;

  /** @internal Sends a request to the gateway. */
  protected runAt(gateway: Gateway, request: PipelineRequest, options?: RequestOptions): Promise<PipelineResult> {
    return this.watched(options, (wanted) => gateway.run(request, wanted));
  }

  /** @internal Runs a request as those want who watch. */
  protected watched(
    options: RequestOptions | undefined,
    run: (wanted: RequestOptions | undefined) => Promise<PipelineResult>,
  ): Promise<PipelineResult> {
    return this.requests.isWatched ? this.requests.run(options ?? {}, run) : run(options);
  }

  /** @internal Judges a job before it is stored. */
  protected checkAt(bytes: number, options?: RequestOptions): void {
    this.gateway?.check(bytes, options);
  }

  /** @internal Why nobody waits for anything any more. */
  protected get ended(): RdmaError | undefined {
    return this.failure ?? (this.isClosing ? closedError() : undefined);
  }

  /** @internal */
  protected get isClosing(): boolean {
    return this.closing !== undefined;
  }

  /** @internal It cannot go on. */
  protected fail(reason: RdmaError): void {
    if (this.ended !== undefined) return;
    this.failure = reason;
    this.gateway?.fail(reason);
    this.waiters.review();
  }

  /**
   * Sends one request through the workflow. With a durable store it is submit() and result(): a request that was
   * accepted is finished by the next process, or another gateway, if this one ends.
   *
   * @throws as Gateway.run; RDMA_ERR_STAGE_FAILED when an instance ended too often
   */
  run(request: PipelineRequest, options?: RequestOptions): Promise<PipelineResult> {
    return this.stored.isDurable ? this.stored.run(request, options ?? {}) : this.runNow(request, options);
  }

  /** @internal Runs a request, without a store. */
  protected runNow(request: PipelineRequest, options?: RequestOptions): Promise<PipelineResult> {
    const { ended, gateway } = this;
    if (ended !== undefined || gateway === undefined) return Promise.reject(ended ?? closedError());
    return this.runAt(gateway, request, options);
  }

  /**
   * Submits a request as a job: it is stored when this answers, and will be done. The same id is the same job.
   *
   * @throws RdmaError RDMA_ERR_REJECTED when there is no room in time, RDMA_ERR_STORE_FULL when the store has none:
   *   nothing is stored then; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_MESSAGE_TOO_LARGE; RDMA_ERR_PEER_GONE when the store
   *   does not answer: submit it again with its id; RDMA_ERR_CLOSED
   */
  submit(request: PipelineRequest, options: SubmitOptions = {}): Promise<Job> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    return this.stored.submit(request, options);
  }

  /**
   * A job that was submitted, whoever has submitted it. @throws RdmaError RDMA_ERR_NOT_FOUND; RDMA_ERR_INVALID_ARGUMENT
   */
  job(id: string): Promise<Job> {
    return this.stored.job(id);
  }

  /** What is known of the jobs in the store, the newest first. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
  jobs(filter: JobFilter = {}): Promise<JobRecord[]> {
    return this.stored.jobs(filter);
  }

  /**
   * Begins no stored job any more, and refuses new ones: what has not begun stays in the store, for whoever has the
   * same, or the next process. Without a durable store it is lost with this process.
   *
   * @returns when no job runs any more; those that run are not stopped
   * @throws RdmaError RDMA_ERR_CLOSED; RDMA_ERR_PEER_GONE when the store has never answered
   */
  pauseJobs(): Promise<void> {
    return this.stored.pause();
  }

  /**
   * Sends one request and answers its result piece by piece: `for await (const event of pipeline.stream(request))`.
   *
   * @returns see Gateway.stream
   */
  stream(request: PipelineRequest, options: StreamOptions = {}): RequestStream {
    checkObject('options', options);
    return new RequestStream((own) => this.run(request, own), options);
  }

  /**
   * Calls a function for each request that begins from now on; the function that it returns is called with how the
   * request ended.
   *
   * @returns ends that
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when `watcher` is no function
   */
  watchRequests(watcher: RequestWatcher): () => void {
    return this.requests.add(checkFunction('watcher', watcher));
  }

  /** Why it does not work any more; undefined while it does. */
  get error(): RdmaError | undefined {
    return this.failure;
  }

  /** Requests in the stages, and waiting to be admitted here. */
  get load(): { inFlight: number; queued: number } {
    return this.gateway?.load ?? { inFlight: 0, queued: 0 };
  }

  /**
   * Ends it. Requests under way here fail with RDMA_ERR_CLOSED; those of a durable store go on elsewhere, or in the
   * next process. A second call answers the same promise.
   */
  close(): Promise<void> {
    this.closing ??= this.closeNow();
    return this.closing;
  }

  private async closeNow(): Promise<void> {
    await null; // `closing` is set before anything below looks at it
    this.waiters.review();
    await this.closeAll();
  }

  /** As {@link RunningPipeline.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

const publishing = new WeakMap<WorkflowSpec, boolean>();

// Whether results come piece by piece.
function publishesPieces(spec: WorkflowSpec): boolean {
  let known = publishing.get(spec);
  if (known === undefined) {
    known = graphOf(spec).last.some((stage) => spec.stages[stage]!.maxPieces > 0);
    publishing.set(spec, known);
  }
  return known;
}

/** @internal */
export function closedError(): RdmaError {
  return new RdmaError('RDMA_ERR_CLOSED', 'the pipeline is closed');
}
