// The reasons for which a gateway refuses a request, and the time to come back.
//
// Invariant: a refusal costs the stages nothing. It says what is missing, and, if a retry makes sense, after how long.
import { RdmaError } from '../core/errors.js';

/** Why a request was refused. */
export type RejectionReason =
  | 'queue-full'
  | 'queue-bytes'
  | 'tenant-full'
  | 'tenant-bytes'
  | 'deadline'
  | 'too-slow'
  | 'stage-broken'
  | 'stage-asleep';

const WORDS: Record<RejectionReason, string> = {
  'queue-full': 'as many requests wait as may wait',
  'queue-bytes': 'the requests that wait hold as many bytes as they may',
  'tenant-full': 'as many requests of the tenant wait as may wait',
  'tenant-bytes': 'the requests of the tenant that wait hold as many bytes as they may',
  deadline: 'it would be late',
  'too-slow': 'even alone it would take longer than it has',
  'stage-broken': 'a stage that it needs is broken',
  'stage-asleep': 'a stage that it needs has no instance, and would not have started one in time',
};

const REMEDIES: Record<RejectionReason, string> = {
  'queue-full': 'send it after retryAfterMs, or raise maxQueued',
  'queue-bytes': 'send it after retryAfterMs, or raise maxQueuedBytes',
  'tenant-full': "send it after retryAfterMs, or raise the tenant's maxQueued",
  'tenant-bytes': "send it after retryAfterMs, or raise the tenant's maxQueuedBytes",
  deadline: 'send it after retryAfterMs, give it more time, or add instances to the stage',
  'too-slow': 'give it more time',
  'stage-broken': 'send it after retryAfterMs; see status() and what the stage printed',
  'stage-asleep':
    'send it after retryAfterMs: the stage starts now; give it more time, or keep an instance (scale.min)',
};

/** What a rejection says beside its reason. */
export interface RejectionDetails {
  /** undefined: no retry helps. */
  retryAfterMs?: number | undefined;
  retryToken?: string | undefined;
  stage?: string | undefined;
  expectedWaitMs?: number | undefined;
  /** Added to the words. */
  more?: string | undefined;
  cause?: unknown;
}

/** Makes rejections, and counts them by reason. */
export class Rejections {
  readonly counts: Partial<Record<RejectionReason, number>> = {};

  /** @returns the error; it is returned, not thrown */
  make(reason: RejectionReason, { more, ...details }: RejectionDetails = {}): RdmaError {
    this.counts[reason] = (this.counts[reason] ?? 0) + 1;
    const { stage, retryAfterMs, retryToken, expectedWaitMs } = details;
    const words = more === undefined ? WORDS[reason] : `${WORDS[reason]}: ${more}`;
    return new RdmaError('RDMA_ERR_REJECTED', words, {
      remedy: REMEDIES[reason],
      stage,
      retryToken,
      retryAfterMs: retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(retryAfterMs)),
      expectedWaitMs: expectedWaitMs === undefined ? undefined : Math.max(0, Math.round(expectedWaitMs)),
      ...('cause' in details ? { cause: details.cause } : {}),
    });
  }

  /** Of all reasons. */
  get total(): number {
    let sum = 0;
    for (const count of Object.values(this.counts)) sum += count;
    return sum;
  }
}
