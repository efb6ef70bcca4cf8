// What runs jobs, and what a job is to it.
//
// Invariant: a runner knows nothing of stores: it is asked to run a request, and may refuse.
import type { RdmaErrorJson } from '../core/errors.js';
import type { PipelineRequest, PipelineResult, RequestOptions } from '../pipeline/index.js';
import type { JobEntry } from './entry.js';
import type { NewEvent } from './event-log.js';

/** What runs requests: a pipeline, for example. */
export interface JobRunner {
  /** Whether results come piece by piece, to `options.onPiece`, in tensors that belong to it; default false. */
  readonly streams?: boolean;
  /**
   * Runs one request. Whoever aborts `options.signal` does not want its result any more; what happens goes to
   * `options.onTask`.
   */
  run(request: PipelineRequest, options: RequestOptions): Promise<PipelineResult>;
  /**
   * Throws the error with which a request with so many bytes of tensors would be refused now; then it is not stored.
   */
  check?(bytes: number, options: RequestOptions): void;
}

/** @internal What a job's options are to a runner. */
export function runOptions(
  job: Pick<JobEntry, 'tenant' | 'priority' | 'cost' | 'spread' | 'trace'> & { timeoutMs?: number },
): RequestOptions {
  const { tenant, priority, cost, spread, trace, timeoutMs } = job;
  return {
    tenant,
    priority,
    ...(cost === undefined ? {} : { cost }),
    ...(trace === undefined ? {} : { traceContext: trace }),
    ...(spread === undefined ? {} : { spread }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

/** @internal The last event of a job that has ended. */
export function outcomeEvent(entry: JobEntry): NewEvent {
  const { state, error } = entry as { state: 'done' | 'failed' | 'cancelled'; error?: RdmaErrorJson };
  return error === undefined ? { type: state } : { type: state, error };
}
