// What became of requests: counts by tenant and reason, their latency, and the last ones with where their time went.
//
// Invariant: bounded, however many tenants, reasons and requests there are: those beyond the limit count as `other`,
// and the oldest record makes room for the newest. A request is counted once, when it ends.
import { isRdmaError } from '../core/errors.js';
import { Latency, type LatencyStatus, type Trace, type WorkflowSpec } from '../pipeline/index.js';
import { type Segment, timelineOf } from './timeline.js';

/** How requests end. `late`: their deadline passed. `cancelled`: their caller did not want them any more. */
export const OUTCOMES = ['done', 'failed', 'rejected', 'late', 'cancelled'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** A request that has ended. */
export interface RequestRecord {
  /** 1, 2 ...; counted where requests are watched. */
  readonly number: number;
  /** Its name in the places; undefined when it has no result. */
  readonly request: string | undefined;
  readonly tenant: string;
  readonly outcome: Outcome;
  /** Wall clock, in ms since 1970. */
  readonly startedAtMs: number;
  readonly totalUs: number;
  readonly error: { code: string; message: string; stage: string | undefined } | undefined;
  /** Undefined when it was not traced. */
  readonly timeline: readonly Segment[] | undefined;
}

/** What of one kind of failure or rejection was counted. */
export interface ReasonCount {
  readonly outcome: Outcome;
  readonly code: string;
  /** The stage that failed, or that had no room; undefined when the error names none. */
  readonly stage: string | undefined;
  readonly count: number;
  /** Words of the last one, and when it was, in ms since 1970. */
  readonly lastMessage: string;
  readonly lastAtMs: number;
}

export type OutcomeCounts = Record<Outcome, number>;

/** Everything that was counted, since the watching began. */
export interface RequestCounts {
  readonly total: OutcomeCounts;
  readonly tenants: ReadonlyMap<string, OutcomeCounts>;
  readonly reasons: readonly ReasonCount[];
  /** Of those that were done. */
  readonly latency: LatencyStatus;
}

export const OTHER = 'other';
const MAX_REASONS = 64;
const MAX_MESSAGE = 300;

interface Ended extends Omit<RequestRecord, 'timeline'> {
  readonly trace: Trace | undefined;
  record: RequestRecord | undefined;
}

export class RequestLog {
  private readonly spec: WorkflowSpec;
  private readonly maxRecords: number;
  private readonly maxTenants: number;
  private readonly total = noOutcomes();
  private readonly tenants = new Map<string, OutcomeCounts>();
  private readonly reasons = new Map<string, ReasonCount>();
  private readonly latency = new Latency();
  private readonly finished: Ended[] = []; // that were done, in order
  private readonly others: Ended[] = [];
  private number = 0;

  /**
   * @param maxRecords that are kept of those that were done, and of the others
   * @param maxTenants that are counted by name
   */
  constructor(spec: WorkflowSpec, maxRecords: number, maxTenants: number) {
    this.spec = spec;
    this.maxRecords = maxRecords;
    this.maxTenants = maxTenants;
  }

  /** A request was done. */
  done(tenant: string, startedAtMs: number, totalUs: number, request: string, trace: Trace | undefined): void {
    this.count('done', tenant);
    this.latency.add(totalUs);
    this.keep({ request, tenant, outcome: 'done', startedAtMs, totalUs, error: undefined, trace, record: undefined });
  }

  /** A request ended with an error. */
  failed(tenant: string, startedAtMs: number, totalUs: number, error: unknown): void {
    const code = isRdmaError(error) ? error.code : 'UNKNOWN';
    const stage = isRdmaError(error) ? error.stage : undefined;
    const outcome = outcomeOf(code);
    const words = error instanceof Error ? error.message : String(error);
    const message = words.length > MAX_MESSAGE ? `${words.slice(0, MAX_MESSAGE - 1)}…` : words;
    this.count(outcome, tenant);
    this.blame(outcome, code, stage, message, startedAtMs + totalUs / 1000);
    const told = { code, message, stage };
    const none = { request: undefined, trace: undefined, record: undefined };
    this.keep({ ...none, tenant, outcome, startedAtMs, totalUs, error: told });
  }

  private count(outcome: Outcome, tenant: string): void {
    this.total[outcome]++;
    let counts = this.tenants.get(tenant);
    if (counts === undefined) {
      const name = this.tenants.size < this.maxTenants ? tenant : OTHER;
      counts = this.tenants.get(name) ?? noOutcomes();
      this.tenants.set(name, counts);
    }
    counts[outcome]++;
  }

  private blame(outcome: Outcome, code: string, stage: string | undefined, lastMessage: string, lastAtMs: number) {
    const name = `${outcome} ${code} ${stage ?? ''}`;
    const isNamed = this.reasons.has(name) || this.reasons.size < MAX_REASONS;
    const key = isNamed ? name : `${outcome} ${OTHER}`;
    const count = (this.reasons.get(key)?.count ?? 0) + 1;
    const reason = isNamed ? { code, stage } : { code: OTHER, stage: undefined };
    this.reasons.set(key, { outcome, ...reason, count, lastMessage, lastAtMs });
  }

  private keep(ended: Omit<Ended, 'number'>): void {
    const ring = ended.outcome === 'done' ? this.finished : this.others;
    ring.push({ number: ++this.number, ...ended });
    if (ring.length > this.maxRecords) ring.shift();
  }

  /**
   * The last `count`, the newest first. However many were refused, there is room for those that were done, and the
   * other way round: as long as there are enough of both, each has half.
   */
  recent(count: number): RequestRecord[] {
    const half = Math.ceil(count / 2);
    const done = last(this.finished, Math.max(half, count - this.others.length));
    const others = last(this.others, count - done.length);
    return [...done, ...others].sort((a, b) => b.number - a.number).map((ended) => this.recordOf(ended));
  }

  // Laid out when somebody looks at it, and then kept.
  private recordOf(ended: Ended): RequestRecord {
    const { trace, totalUs } = ended;
    ended.record ??= {
      number: ended.number,
      request: ended.request,
      tenant: ended.tenant,
      outcome: ended.outcome,
      startedAtMs: ended.startedAtMs,
      totalUs: Math.round(totalUs * 10) / 10,
      error: ended.error,
      timeline: trace === undefined ? undefined : timelineOf(this.spec, trace, totalUs),
    };
    return ended.record;
  }

  counts(): RequestCounts {
    const tenants = new Map([...this.tenants].map(([name, counts]) => [name, { ...counts }]));
    return { total: { ...this.total }, tenants, reasons: [...this.reasons.values()], latency: this.latency.status() };
  }
}

function last<T>(list: readonly T[], count: number): readonly T[] {
  return list.slice(Math.max(0, list.length - count));
}

export function noOutcomes(): OutcomeCounts {
  return { done: 0, failed: 0, rejected: 0, late: 0, cancelled: 0 };
}

function outcomeOf(code: string): Outcome {
  switch (code) {
    case 'RDMA_ERR_REJECTED':
    case 'RDMA_ERR_STORE_FULL':
      return 'rejected';
    case 'RDMA_ERR_DEADLINE':
      return 'late';
    case 'RDMA_ERR_ABORTED':
    case 'RDMA_ERR_CANCELLED':
      return 'cancelled';
    default:
      return 'failed';
  }
}
