// The jobs of a pipeline: a service that opens on first use, over the given store or one in memory.
//
// Invariant: a pipeline without jobs has no service; the first caller opens it for all.
import { setTimeout as sleep } from 'node:timers/promises';
import { abortError, Deadline } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import {
  type Job,
  type JobFilter,
  type JobRecord,
  type JobRunner,
  JobService,
  type JobStorage,
  memoryStore,
  type SubmitOptions,
} from '../jobs/index.js';
import type { PieceEvent, PipelineRequest, PipelineResult, RequestOptions } from '../pipeline/index.js';
import { checkRequestOptions } from '../pipeline/request.js';

/** @internal */
export class PipelineJobs {
  private readonly store: JobStorage;
  private readonly ownsStore: boolean;
  private service: Promise<JobService> | undefined;
  private isClosed = false;

  /** @param store undefined: one in memory, which is closed with this */
  constructor(
    private readonly runner: JobRunner,
    store: JobStorage | undefined,
    private readonly leaseMs: number,
    private readonly closedError: () => RdmaError,
  ) {
    this.ownsStore = store === undefined;
    this.store = store ?? memoryStore();
  }

  /** True when what is run goes through the store too. */
  get isDurable(): boolean {
    return this.store.isDurable;
  }

  /** Opens the service, which takes over what was accepted on this store. @throws as JobService.open */
  open(): Promise<JobService> {
    if (this.isClosed) return Promise.reject(this.closedError());
    if (this.service === undefined) {
      this.service = JobService.open({ store: this.store, runner: this.runner, leaseMs: this.leaseMs });
      // One that could not be opened is tried again.
      this.service.catch(() => {
        this.service = undefined;
      });
    }
    return this.service;
  }

  /** See LocalPipeline.submit. */
  async submit(request: PipelineRequest, options: SubmitOptions): Promise<Job> {
    return (await this.open()).submit(request, options);
  }

  /** See LocalPipeline.job. */
  async job(id: string): Promise<Job> {
    const job = (await this.open()).job(id);
    await job.record();
    return job;
  }

  /** See LocalPipeline.jobs. */
  async jobs(filter: JobFilter): Promise<JobRecord[]> {
    return (await this.open()).jobs(filter);
  }

  /**
   * Runs a request as a job: it is finished even if this process is not there to tell. The result's tensors are
   * copies, also with `views`.
   */
  async run(request: PipelineRequest, options: RequestOptions): Promise<PipelineResult> {
    const { retries, signal, timeoutMs, onPiece } = checkRequestOptions(options);
    const { tenant, priority, cost, spread } = options;
    const deadline = new Deadline({ timeoutMs, signal }, 'the request');
    for (let left = retries; ; left--) {
      if (signal?.aborted) throw abortError(signal, 'the request was aborted');
      const job = await this.submit(request, {
        ...(tenant === undefined ? {} : { tenant }),
        ...(priority === undefined ? {} : { priority }),
        ...(cost === undefined ? {} : { cost }),
        ...(spread === undefined ? {} : { spread }),
        ...(timeoutMs === undefined ? {} : { deadlineMs: deadline.leftMs() }),
      }).catch((error: RdmaError) => {
        if (left === 0 || error.retryAfterMs === undefined || error.retryAfterMs >= deadline.leftMs()) throw error;
        return error.retryAfterMs;
      });
      if (typeof job === 'number') {
        // Not all at once: up to a tenth later, as the gateway's own retries.
        await sleep(job * (1 + Math.random() / 10), undefined, signal && { signal }).catch(() => {});
        continue;
      }
      try {
        const until = signal === undefined ? {} : { signal };
        if (onPiece !== undefined) await tellPieces(job, onPiece, until);
        return await job.result(until);
      } catch (error) {
        // Nobody waits for it any more.
        if (signal?.aborted) await job.cancel().catch(() => false);
        throw error;
      }
    }
  }

  /** See LocalPipeline.pauseJobs. */
  async pause(): Promise<void> {
    await (await this.open()).pause();
  }

  /** Leaves unfinished jobs in the store. */
  async close(): Promise<void> {
    this.isClosed = true;
    const service = await this.service?.catch(() => undefined);
    await service?.close();
    if (this.ownsStore) await this.store.close();
  }
}

// As a gateway tells them: what the caller throws ends the request.
async function tellPieces(job: Job, onPiece: (event: PieceEvent) => void, until: { signal?: AbortSignal }) {
  for await (const event of job.pieces(until)) {
    try {
      onPiece(event);
    } catch (cause) {
      await job.cancel().catch(() => false);
      throw new RdmaError('RDMA_ERR_HANDLER', `onPiece has failed: ${String(cause)}`, { cause });
    }
  }
}
