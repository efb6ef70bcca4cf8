// The metrics of a pipeline, as Prometheus knows them: names, kinds, labels and values.
//
// Invariant: pure. Names carry their base unit (seconds, bytes, total), see "Metric and label naming" of Prometheus.
// Labels are stages, edges, states, reasons and tenants; each has a bounded number of values. Bounds of histograms are
// ends of our own buckets, so every count is exact.
import { latencyBucketStartUs, type LatencyStatus } from '../pipeline/index.js';
import { countUpTo } from './percentiles.js';
import { OUTCOMES } from './request-log.js';
import type { Sample } from './sample.js';
import type { Snapshot } from './snapshot.js';
import { RESTART_KINDS } from '../cluster/restart-log.js';
import type { Totals } from './totals.js';

/** One value of a metric; `suffix` is that of a histogram's `_bucket`, `_sum` and `_count`. */
export interface MetricValue {
  readonly suffix: '' | '_bucket' | '_sum' | '_count';
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A metric and its values. */
export interface MetricFamily {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  readonly values: readonly MetricValue[];
}

/** What metrics are read from. */
export interface MetricsInput {
  readonly sample: Sample;
  readonly snapshot: Snapshot;
  readonly totals: Totals;
}

interface Metric {
  readonly name: string;
  readonly type: MetricFamily['type'];
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (input: MetricsInput) => MetricValue[];
}

/** From 64 us to 268 s, each 4 times the one before: powers of two are ends of buckets. */
const BOUNDS_US = Array.from({ length: 12 }, (_, i) => 4 ** (i + 3));

const one = (value: number, labels: Record<string, string> = {}): MetricValue => ({ suffix: '', labels, value });

function histogram(latency: LatencyStatus, labels: Record<string, string>): MetricValue[] {
  const values: MetricValue[] = BOUNDS_US.map((us) => {
    const le = String(us / 1e6);
    return { suffix: '_bucket', labels: { ...labels, le }, value: countUpTo(latency, us) };
  });
  values.push({ suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: latency.count });
  values.push({ suffix: '_sum', labels, value: latency.sumUs / 1e6 });
  values.push({ suffix: '_count', labels, value: latency.count });
  return values;
}

const STAGE = ['stage'];
const EDGE = ['from', 'to'];
const STATES = ['starting', 'ready', 'hung', 'broken', 'draining'] as const;

function perStage(pick: (stage: Snapshot['stages'][number]) => number) {
  return ({ snapshot }: MetricsInput) => snapshot.stages.map((stage) => one(pick(stage), { stage: stage.name }));
}

function perEdge(pick: (edge: Snapshot['edges'][number]) => number) {
  return ({ snapshot }: MetricsInput) =>
    snapshot.edges.map((edge) => one(pick(edge), { from: edge.from, to: edge.to }));
}

const sum = (list: readonly number[]) => list.reduce((total, value) => total + value, 0);

/** All metrics, in the order of the output. */
export const METRICS: readonly Metric[] = [
  {
    name: 'onepiece_requests_total',
    type: 'counter',
    help: 'Requests that ended, by tenant and outcome.',
    labels: ['tenant', 'outcome'],
    read: ({ sample }) =>
      [...sample.requests.tenants].flatMap(([tenant, counts]) =>
        OUTCOMES.map((outcome) => one(counts[outcome], { tenant, outcome })),
      ),
  },
  {
    name: 'onepiece_request_seconds',
    type: 'histogram',
    help: 'How long requests took that were done, from the call until the result.',
    labels: [],
    read: ({ sample }) => histogram(sample.requests.latency, {}),
  },
  {
    name: 'onepiece_request_errors_total',
    type: 'counter',
    help: 'Requests that were not done, by outcome, error code and the stage that the error names.',
    labels: ['outcome', 'code', 'stage'],
    read: ({ sample }) =>
      sample.requests.reasons.map(({ outcome, code, stage, count }) =>
        one(count, { outcome, code, stage: stage ?? '' }),
      ),
  },
  {
    name: 'onepiece_gateway_rejected_total',
    type: 'counter',
    help: 'Times that the gateway refused a request, by its reason; a caller that tries again is refused again.',
    labels: ['reason'],
    read: ({ snapshot }) => Object.entries(snapshot.gateway.rejected).map(([reason, count]) => one(count, { reason })),
  },
  {
    name: 'onepiece_gateway_hopeless_total',
    type: 'counter',
    help: 'Requests that left the queue since they could not meet their deadline any more.',
    labels: [],
    read: ({ snapshot }) => [one(snapshot.gateway.hopeless)],
  },
  {
    name: 'onepiece_gateway_forecast_error_ratio',
    type: 'gauge',
    help: 'How far off expected completions were on average, as a share of the time; absent while none was expected.',
    labels: [],
    read: ({ snapshot: { gateway } }) => (gateway.forecastError === null ? [] : [one(gateway.forecastError)]),
  },
  {
    name: 'onepiece_gateway_in_flight',
    type: 'gauge',
    help: 'Requests that were admitted and have not ended.',
    labels: [],
    read: ({ snapshot }) => [one(snapshot.gateway.inFlight)],
  },
  {
    name: 'onepiece_gateway_queued',
    type: 'gauge',
    help: 'Requests that wait to be admitted.',
    labels: [],
    read: ({ snapshot }) => [one(snapshot.gateway.queued)],
  },
  {
    name: 'onepiece_gateway_queued_bytes',
    type: 'gauge',
    help: 'Bytes of the requests that wait to be admitted.',
    labels: [],
    read: ({ snapshot }) => [one(snapshot.gateway.queuedBytes)],
  },
  {
    name: 'onepiece_gateway_oldest_queued_seconds',
    type: 'gauge',
    help: 'How long the oldest of them waits; 0 when none does.',
    labels: [],
    read: ({ snapshot }) => [one(snapshot.gateway.oldestQueuedMs / 1000)],
  },
  {
    name: 'onepiece_tenant_queued',
    type: 'gauge',
    help: 'Requests that wait to be admitted, by tenant.',
    labels: ['tenant'],
    read: ({ snapshot }) => snapshot.tenants.map(({ tenant, queued }) => one(queued, { tenant })),
  },
  {
    name: 'onepiece_stage_instances',
    type: 'gauge',
    help: 'Instances of a stage, by state.',
    labels: ['stage', 'state'],
    read: ({ snapshot }) =>
      snapshot.stages.flatMap(({ name, instances }) =>
        STATES.map((state) => one(instances.filter((each) => each.state === state).length, { stage: name, state })),
      ),
  },
  {
    name: 'onepiece_stage_running',
    type: 'gauge',
    help: 'Tasks whose handler runs.',
    labels: STAGE,
    read: perStage(({ instances }) => sum(instances.map(({ running }) => running))),
  },
  {
    name: 'onepiece_stage_ready',
    type: 'gauge',
    help: 'Tasks that have all inputs and wait for their turn.',
    labels: STAGE,
    read: perStage(({ instances }) => sum(instances.map(({ ready }) => ready))),
  },
  {
    name: 'onepiece_stage_unsent',
    type: 'gauge',
    help: 'Outputs that wait for memory.',
    labels: STAGE,
    read: perStage(({ instances }) => sum(instances.map(({ unsent }) => unsent))),
  },
  {
    name: 'onepiece_stage_pool_bytes',
    type: 'gauge',
    help: 'Memory that the instances of a stage have registered for messages.',
    labels: STAGE,
    read: perStage(({ instances }) => sum(instances.map(({ memoryBytes }) => memoryBytes))),
  },
  {
    name: 'onepiece_stage_tasks_total',
    type: 'counter',
    help: 'Tasks that ended.',
    labels: STAGE,
    read: ({ totals }) => [...totals.stageTotals()].map(([stage, { tasks }]) => one(tasks, { stage })),
  },
  {
    name: 'onepiece_stage_failures_total',
    type: 'counter',
    help: 'Tasks that failed.',
    labels: STAGE,
    read: ({ totals }) => [...totals.stageTotals()].map(([stage, { failures }]) => one(failures, { stage })),
  },
  {
    name: 'onepiece_stage_restarts_total',
    type: 'counter',
    help: 'Processes that ended and were replaced, by why.',
    labels: ['stage', 'kind'],
    read: ({ snapshot }) =>
      snapshot.stages.flatMap(({ name, restarts }) =>
        RESTART_KINDS.map((kind) => one(restarts[kind], { stage: name, kind })),
      ),
  },
  {
    name: 'onepiece_stage_queue_seconds',
    type: 'histogram',
    help: 'How long tasks waited with all their inputs until their handler began.',
    labels: STAGE,
    read: ({ totals }) => [...totals.stageTotals()].flatMap(([stage, { queue }]) => histogram(queue, { stage })),
  },
  {
    name: 'onepiece_stage_compute_seconds',
    type: 'histogram',
    help: 'How long handlers took.',
    labels: STAGE,
    read: ({ totals }) => [...totals.stageTotals()].flatMap(([stage, { compute }]) => histogram(compute, { stage })),
  },
  {
    name: 'onepiece_edge_messages_total',
    type: 'counter',
    help: 'Messages that were sent through the lanes of an edge, notes included.',
    labels: EDGE,
    read: ({ totals }) => totals.edgeTotals().map(({ from, to, messages }) => one(messages, { from, to })),
  },
  {
    name: 'onepiece_edge_bytes_total',
    type: 'counter',
    help: 'Their bytes in the lanes; what stays in the memory of its sender is not among them.',
    labels: EDGE,
    read: ({ totals }) => totals.edgeTotals().map(({ from, to, bytes }) => one(bytes, { from, to })),
  },
  {
    name: 'onepiece_edge_resent_total',
    type: 'counter',
    help: 'Messages that were sent again after a reconnect.',
    labels: EDGE,
    read: ({ totals }) => totals.edgeTotals().map(({ from, to, resent }) => one(resent, { from, to })),
  },
  {
    name: 'onepiece_edge_hop_seconds',
    type: 'histogram',
    help: 'How long messages were under way, from their sender until their receiver saw them.',
    labels: EDGE,
    read: ({ totals }) => totals.edgeTotals().flatMap(({ from, to, hop }) => histogram(hop, { from, to })),
  },
  {
    name: 'onepiece_edge_unacknowledged',
    type: 'gauge',
    help: 'Outputs that their receivers have not acknowledged.',
    labels: EDGE,
    read: perEdge(({ unacknowledged }) => unacknowledged),
  },
  {
    name: 'onepiece_edge_backlog',
    type: 'gauge',
    help: 'Messages that wait for room in a lane.',
    labels: EDGE,
    read: perEdge(({ backlog }) => backlog),
  },
];

/** Reads all metrics. */
export function metricFamilies(input: MetricsInput): MetricFamily[] {
  return METRICS.map(({ name, type, help, labels, read }) => ({ name, type, help, labels, values: read(input) }));
}

/** Bounds of histograms in microseconds; for tests: each is the end of a bucket. @internal */
export function histogramBoundsUs(): readonly number[] {
  return BOUNDS_US;
}

/** Whether a bound is the end of a bucket. @internal */
export function isBucketEnd(us: number): boolean {
  for (let i = 0; latencyBucketStartUs(i) <= us; i++) if (latencyBucketStartUs(i) === us) return true;
  return false;
}
