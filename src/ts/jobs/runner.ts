// What runs jobs, and what a job is to it.
//
// Invariant: a runner knows nothing of stores: it is asked to run a request, and may refuse.
import type { RdmaErrorJson } from '../core/errors.js';
import type { PipelineRequest, PipelineResult, RequestOptions, TaskEvent } from '../pipeline/index.js';
import type { JobEntry } from './entry.js';
import type { NewEvent } from './event-log.js';

/** What a runner says of a request under way. */
export interface JobTaskEvent extends TaskEvent {
  readonly step?: number;
  readonly preview?: string;
  readonly remainingMs?: number;
}

/** How a job is run. */
export interface JobRunOptions extends RequestOptions {
  /** Called with what happens in the stages, where the runner tells. */
  onTask?: (event: JobTaskEvent) => void;
}

/** What runs requests: a pipeline, for example. */
export interface JobRunner {
  /** Runs one request. Whoever aborts `options.signal` does not want its result any more. */
  run(request: PipelineRequest, options: JobRunOptions): Promise<PipelineResult>;
  /** Throws the error with which a request with so many bytes of tensors would be refused now; then it is not stored. */
  check?(bytes: number, options: RequestOptions): void;
}

/** @internal What a job's options are to a runner. */
export function runOptions(
  job: Pick<JobEntry, 'tenant' | 'priority' | 'cost'> & { timeoutMs?: number },
): RequestOptions {
  const { tenant, priority, cost, timeoutMs } = job;
  return {
    tenant,
    priority,
    ...(cost === undefined ? {} : { cost }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

/** @internal The last event of a job that has ended. */
export function outcomeEvent(entry: JobEntry): NewEvent {
  const { state, error } = entry as { state: 'done' | 'failed' | 'cancelled'; error?: RdmaErrorJson };
  return error === undefined ? { type: state } : { type: state, error };
}
