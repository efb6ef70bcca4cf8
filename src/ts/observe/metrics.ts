// The metrics of a pipeline on one host: those of its gateway, of its stages and of its edges.
//
// Invariant: pure. Names carry their base unit (seconds, bytes, total), see "Metric and label naming" of Prometheus.
// Labels are stages, edges, states, reasons and tenants; each has a bounded number of values.
import { RESTART_KINDS } from '../cluster/restart-log.js';
import { GATEWAY_METRICS } from './gateway-metrics.js';
import { histogram, type Metric, type MetricFamily, one, readMetrics } from './metric.js';
import type { Sample } from './sample.js';
import type { Snapshot } from './snapshot.js';
import { sumOf } from './stage-view.js';
import type { Totals } from './totals.js';

/** What metrics are read from. */
export interface MetricsInput {
  readonly sample: Sample;
  readonly snapshot: Snapshot;
  readonly totals: Totals;
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

/** Of the processes that have answered. */
const sum = (list: readonly (number | null)[]) => sumOf(list) ?? 0;

/** All metrics, in the order of the output. */
export const METRICS: readonly Metric<MetricsInput>[] = [
  ...GATEWAY_METRICS.map((metric) => ({
    ...metric,
    read: ({ sample, snapshot }: MetricsInput) => metric.read({ ...snapshot, requests: sample.requests }),
  })),
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
  return readMetrics(METRICS, input);
}
