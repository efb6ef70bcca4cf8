// A job: a request that was stored before it was answered for, and its one outcome.
//
// Invariant: an accepted job has exactly one outcome, whoever computes it and whoever asks for it. The same id is the
// same job.
import type { RdmaErrorJson } from '../core/errors.js';
import type { PieceEvent, PipelineResult, RequestCost, Spread } from '../pipeline/index.js';

/** How to submit a job. */
export interface SubmitOptions {
  /** Its identity, 1 to 128 of `A-Z a-z 0-9 . _ : -`; default a random one. Submitted again it is the same job. */
  id?: string;
  /** See RequestOptions. */
  tenant?: string;
  priority?: number;
  cost?: RequestCost;
  spread?: Readonly<Record<string, Spread>>;
  /** How long the job may take from now on until its outcome, in ms, 1 to 2^31 - 1; default as long as it takes. */
  deadlineMs?: number;
  /** The `retryToken` of the rejection after which the job comes again: it keeps its place for a while. */
  retryToken?: string;
  /**
   * What tells this request from others, 1 to 128 visible characters of ASCII, for example a digest of it; kept with
   * the job. An id whose job has another one is refused with RDMA_ERR_CONFLICT
   * (draft-ietf-httpapi-idempotency-key-header, "Idempotency Fingerprint"). Default none: the same id is the same job,
   * whatever is asked.
   */
  fingerprint?: string;
  /** W3C trace context that the job belongs to: `traceparent`, and `tracestate` where there is one. */
  trace?: { traceparent: string; tracestate?: string };
}

/** `queued`: stored. `running`: in the stages. The others are outcomes. */
export type JobState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';

/** What is known of a job without its tensors. */
export interface JobRecord {
  readonly id: string;
  readonly tenant: string;
  readonly priority: number;
  readonly state: JobState;
  /** Wall clock, in ms since 1970. */
  readonly submittedAtMs: number;
  readonly endedAtMs: number | undefined;
  /** How often a gateway has begun it. */
  readonly attempts: number;
  /** Bytes of tensors of the request, and of the result when there is one. */
  readonly requestBytes: number;
  readonly resultBytes: number | undefined;
  /** Of `failed` and `cancelled`. */
  readonly error: RdmaErrorJson | undefined;
}

/** What happens to a job, in order. */
export interface JobEvent {
  /** 1, 2 ... within the job. */
  readonly number: number;
  /** Wall clock, in ms since 1970. */
  readonly atMs: number;
  readonly type:
    | 'queued'
    | 'started'
    | 'task'
    | 'progress'
    | 'piece'
    | 'restarted'
    | 'task-done'
    | 'done'
    | 'failed'
    | 'cancelled';
  /** Of `task`, `progress`, `piece`, `restarted` and `task-done`. */
  readonly stage?: string;
  readonly instance?: number;
  /** Of `progress`: 0 to 1, and what the handler says beside it. */
  readonly done?: number;
  readonly step?: number;
  /** Bytes come as a `data:` URL in base64. */
  readonly preview?: string;
  /** Of `progress`: how long the job may take still, in ms, where that is known. */
  readonly remainingMs?: number;
  /** Of `piece`: its number within its instance, and the bytes of each of its parts; Job.pieces() has them. */
  readonly piece?: number;
  readonly parts?: Readonly<Record<string, number>>;
  /** Of `failed` and `cancelled`. */
  readonly error?: RdmaErrorJson;
}

/** A job that was accepted. */
export interface Job {
  readonly id: string;
  /** What is known of it now. @throws RdmaError RDMA_ERR_NOT_FOUND when it was removed or has expired */
  record(): Promise<JobRecord>;
  /**
   * What happens to it, from the event behind `after` on (default 0: from the first), until its outcome. Events of
   * jobs that another process began are lost with that process; the outcome is not.
   */
  events(options?: { after?: number; signal?: AbortSignal }): AsyncIterable<JobEvent>;
  /**
   * Waits for its outcome. Whoever waits gets it: it is not taken away by being read.
   *
   * @throws RdmaError the error of a job that failed; RDMA_ERR_CANCELLED; RDMA_ERR_NOT_FOUND; RDMA_ERR_ABORTED by
   *   `signal`,
   *   which ends the waiting and not the job
   */
  result(options?: { signal?: AbortSignal }): Promise<PipelineResult>;
  /**
   * The pieces of its result as the last stages publish them, until it is done; the result has them too. Whoever comes
   * late gets those so far, and from a job that is done all of them. Where another process works on the job they come
   * when it is done. A reader that is slow delays nobody, and nothing is kept for it. When a stage begins again, or the
   * job, `restarted` says that the pieces of that instance come from the first again.
   *
   * @throws as {@link Job.result}, from the loop
   */
  pieces(options?: { signal?: AbortSignal }): AsyncIterable<PieceEvent>;
  /** Cancels it, wherever it is. @returns false when it had its outcome already */
  cancel(): Promise<boolean>;
}
