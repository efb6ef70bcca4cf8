// What the server needs of the jobs: somebody who takes them, finds them and lists them.
import type { Job, JobRecord, JobState, SubmitOptions } from '../jobs/job.js';
import type { PipelineRequest } from '../pipeline/index.js';

/** Which jobs to list. */
export interface JobFilter {
  tenant?: string;
  states?: readonly JobState[];
  /** The most records, the newest first. */
  limit?: number;
}

/** Takes jobs and finds them again; LocalPipeline is one. */
export interface JobDesk {
  /** @throws RdmaError RDMA_ERR_REJECTED with `retryAfterMs`; RDMA_ERR_STORE_FULL; RDMA_ERR_INVALID_ARGUMENT */
  submit(request: PipelineRequest, options: SubmitOptions): Promise<Job>;
  /** @returns undefined: there is none of this id, or not any more */
  job(id: string): Promise<Job | undefined>;
  jobs(filter: JobFilter): Promise<JobRecord[]>;
}
