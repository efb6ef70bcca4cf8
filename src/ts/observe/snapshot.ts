// What a dashboard, a terminal and a script see of a pipeline: the graph with its queues, rates, times and troubles.
//
// Invariant: pure: the same samples give the same snapshot. It is JSON: every figure has its unit in its name, and one
// that is not known is absent or null, never 0. Rates and recent percentiles come from differences of samples.
import type { Restart } from '../cluster/index.js';
import type { GatewayStatus, QueueStatus, RejectionReason } from '../pipeline/index.js';
import { edgesOf, type EdgeView, lanesOf, type LaneView } from './edge-view.js';
import { type Percentiles, percentilesOf } from './percentiles.js';
import { Rates } from './rates.js';
import {
  noOutcomes,
  OTHER,
  OUTCOMES,
  type OutcomeCounts,
  type ReasonCount,
  type RequestCounts,
  type RequestRecord,
} from './request-log.js';
import { placesOf, type SnapshotInput } from './sample.js';
import { type StageView, stageView } from './stage-view.js';

export interface TenantView extends OutcomeCounts {
  readonly tenant: string;
  readonly queued: number;
}

/** What a gateway lets in, and what waits before it. */
export interface GatewayView {
  readonly inFlight: number;
  readonly queued: number;
  readonly queuedBytes: number;
  /** How long the oldest one waits; 0 when none does. */
  readonly oldestQueuedMs: number;
  /** Since the start, by reason; also those whose callers tried again by themselves. */
  readonly rejected: Readonly<Partial<Record<RejectionReason, number>>>;
  /** Requests that left the queue since they could not meet their deadline any more, since the start. */
  readonly hopeless: number;
  /** How far off the expected completions were on average, as a share of the time; null: none was expected. */
  readonly forecastError: number | null;
}

/** Answered by `/v1/status`. */
export interface Snapshot {
  readonly schemaVersion: 1;
  readonly workflow: string;
  readonly device: string;
  readonly plan: number;
  /** `degraded`: an instance is not ready. `down`: a stage has no instance that is. */
  readonly state: 'ready' | 'degraded' | 'down' | 'closed';
  /** Wall clock, in ms since 1970. */
  readonly atMs: number;
  /** What rates are averages over, in ms; null: this is the first look, and there are no rates. */
  readonly rateMs: number | null;
  readonly gateway: GatewayView;
  readonly requests: {
    readonly total: OutcomeCounts;
    readonly perSecond: OutcomeCounts | null;
    readonly latency: Percentiles | undefined;
  };
  readonly tenants: readonly TenantView[];
  readonly stages: readonly StageView[];
  readonly edges: readonly EdgeView[];
  readonly lanes: readonly LaneView[];
  readonly reasons: readonly ReasonCount[];
  readonly restarts: { readonly count: number; readonly last: readonly Restart[] };
  readonly memory: { readonly laneBytes: number; readonly processBytes: number; readonly poolBytes: number };
  readonly recent: readonly RequestRecord[];
}

const MAX_RESTARTS = 20;
/** More are not shown one by one: of a large pipeline the edges tell enough. */
export const MAX_LANES = 256;

/** Makes a snapshot. */
export function makeSnapshot(input: SnapshotInput): Snapshot {
  const { device, spec, now, before, minuteBefore, restarts, restartTotals, recent, maxTenants } = input;
  const { status, requests } = now;
  const rates = new Rates(now, before);
  const lanes = lanesOf(input, rates);
  const stages = spec.stages.map((_, index) => stageView(input, index, rates));
  const perSecond = before === undefined ? null : noOutcomes();
  for (const outcome of OUTCOMES) {
    const rate = rates.of(requests.total[outcome], before?.requests.total[outcome]);
    if (perSecond !== null) perSecond[outcome] = rate ?? 0;
  }
  return {
    schemaVersion: 1,
    workflow: spec.name,
    device,
    plan: status.plan.number,
    state: status.gateway === undefined ? 'closed' : stateOf(stages),
    atMs: now.wallMs,
    rateMs: rates.ms,
    gateway: gatewayView(status.gateway),
    requests: {
      total: requests.total,
      perSecond,
      latency: percentilesOf(requests.latency, minuteBefore?.requests.latency),
    },
    tenants: tenantsOf(requests, status.gateway?.queue.tenants ?? [], maxTenants),
    stages,
    edges: edgesOf(input, lanes, rates),
    lanes: lanes.slice(0, MAX_LANES),
    reasons: [...requests.reasons].sort((a, b) => b.lastAtMs - a.lastAtMs),
    restarts: {
      count: restartTotals.reduce((sum, { count }) => sum + count, 0),
      last: restarts.slice(-MAX_RESTARTS).reverse(),
    },
    memory: {
      laneBytes: status.memory.laneBytes,
      processBytes: status.memory.processBytes,
      poolBytes: placesOf(status).reduce((sum, { pool }) => sum + pool.registeredBytes, 0),
    },
    recent,
  };
}

/** What there is to see of a gateway; of one that is gone: nothing waits. */
export function gatewayView(status: GatewayStatus | undefined): GatewayView {
  const queue = status?.queue;
  return {
    inFlight: status?.inFlight ?? 0,
    queued: queue?.requests ?? 0,
    queuedBytes: queue?.bytes ?? 0,
    oldestQueuedMs: queue?.oldestMs ?? 0,
    rejected: queue?.rejected ?? {},
    hopeless: queue?.hopeless ?? 0,
    forecastError: status?.meanError ?? null,
  };
}

function stateOf(stages: readonly StageView[]): Snapshot['state'] {
  const isWhole = (stage: StageView) => stage.instances.every(({ state }) => state === 'ready' || state === 'draining');
  const isGone = ({ instances, spread }: StageView) => {
    const ready = instances.filter(({ state }) => state === 'ready').length;
    return spread === 'shard' ? ready < instances.filter(({ state }) => state !== 'draining').length : ready === 0;
  };
  if (stages.some(isGone)) return 'down';
  return stages.every(isWhole) ? 'ready' : 'degraded';
}

/** What each tenant asked for and waits for. Of one that waits for the first time nothing is counted yet. */
export function tenantsOf(
  { tenants }: RequestCounts,
  waiting: QueueStatus['tenants'],
  maxTenants: number,
): TenantView[] {
  const queued = new Map([...tenants.keys()].map((name) => [name, 0]));
  for (const { tenant, requests: count } of waiting) {
    const key = queued.has(tenant) || queued.size < maxTenants ? tenant : OTHER;
    queued.set(key, (queued.get(key) ?? 0) + count);
  }
  return [...queued].map(([tenant, count]) => ({
    tenant,
    queued: count,
    ...(tenants.get(tenant) ?? noOutcomes()),
  }));
}
