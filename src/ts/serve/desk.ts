// What the server needs of the jobs: somebody who takes them, finds them and lists them.
import type { Job, JobRecord, JobState, SubmitOptions } from '../jobs/index.js';
import type { PipelineRequest } from '../pipeline/index.js';

/** Which jobs to list. */
export interface JobFilter {
  state?: JobState;
  tenant?: string;
  /** The most records, the newest first. */
  limit?: number;
}

/** Takes jobs and finds them again; LocalPipeline is one. */
export interface JobDesk {
  /** @throws RdmaError RDMA_ERR_REJECTED with `retryAfterMs`; RDMA_ERR_STORE_FULL; RDMA_ERR_INVALID_ARGUMENT */
  submit(request: PipelineRequest, options: SubmitOptions): Promise<Job>;
  /** @throws RdmaError RDMA_ERR_NOT_FOUND: there is none of this id, or not any more */
  job(id: string): Promise<Job>;
  jobs(filter: JobFilter): Promise<JobRecord[]>;
}
