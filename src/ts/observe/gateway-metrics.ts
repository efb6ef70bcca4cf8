// The metrics of a gateway: what became of requests, what waits, and how many are under way. A pipeline on one host and
// a cluster's gateway both have them.
//
// Invariant: pure. Names carry their base unit (seconds, bytes, total), see "Metric and label naming" of Prometheus.
// Labels are outcomes, codes, reasons and tenants; each has a bounded number of values.
import { histogram, type Metric, one } from './metric.js';
import { OUTCOMES, type RequestCounts } from './request-log.js';
import type { GatewayView, TenantView } from './snapshot.js';

/** What they are read from. */
export interface GatewayMetricsInput {
  readonly requests: RequestCounts;
  readonly gateway: GatewayView;
  readonly tenants: readonly TenantView[];
}

/** The metrics of a gateway, in the order of the output. */
export const GATEWAY_METRICS: readonly Metric<GatewayMetricsInput>[] = [
  {
    name: 'onepiece_requests_total',
    type: 'counter',
    help: 'Requests that ended, by tenant and outcome.',
    labels: ['tenant', 'outcome'],
    read: ({ requests }) =>
      [...requests.tenants].flatMap(([tenant, counts]) =>
        OUTCOMES.map((outcome) => one(counts[outcome], { tenant, outcome })),
      ),
  },
  {
    name: 'onepiece_request_seconds',
    type: 'histogram',
    help: 'How long requests took that were done, from the call until the result.',
    labels: [],
    read: ({ requests }) => histogram(requests.latency, {}),
  },
  {
    name: 'onepiece_request_errors_total',
    type: 'counter',
    help: 'Requests that were not done, by outcome, error code and the stage that the error names.',
    labels: ['outcome', 'code', 'stage'],
    read: ({ requests }) =>
      requests.reasons.map(({ outcome, code, stage, count }) => one(count, { outcome, code, stage: stage ?? '' })),
  },
  {
    name: 'onepiece_gateway_rejected_total',
    type: 'counter',
    help: 'Times that the gateway refused a request, by its reason; a caller that tries again is refused again.',
    labels: ['reason'],
    read: ({ gateway }) => Object.entries(gateway.rejected).map(([reason, count]) => one(count, { reason })),
  },
  {
    name: 'onepiece_gateway_hopeless_total',
    type: 'counter',
    help: 'Requests that left the queue since they could not meet their deadline any more.',
    labels: [],
    read: ({ gateway }) => [one(gateway.hopeless)],
  },
  {
    name: 'onepiece_gateway_forecast_error_ratio',
    type: 'gauge',
    help: 'How far off expected completions were on average, as a share of the time; absent while none was expected.',
    labels: [],
    read: ({ gateway }) => (gateway.forecastError === null ? [] : [one(gateway.forecastError)]),
  },
  {
    name: 'onepiece_gateway_in_flight',
    type: 'gauge',
    help: 'Requests that were admitted and have not ended.',
    labels: [],
    read: ({ gateway }) => [one(gateway.inFlight)],
  },
  {
    name: 'onepiece_gateway_queued',
    type: 'gauge',
    help: 'Requests that wait to be admitted.',
    labels: [],
    read: ({ gateway }) => [one(gateway.queued)],
  },
  {
    name: 'onepiece_gateway_queued_bytes',
    type: 'gauge',
    help: 'Bytes of the requests that wait to be admitted.',
    labels: [],
    read: ({ gateway }) => [one(gateway.queuedBytes)],
  },
  {
    name: 'onepiece_gateway_oldest_queued_seconds',
    type: 'gauge',
    help: 'How long the oldest of them waits; 0 when none does.',
    labels: [],
    read: ({ gateway }) => [one(gateway.oldestQueuedMs / 1000)],
  },
  {
    name: 'onepiece_tenant_queued',
    type: 'gauge',
    help: 'Requests that wait to be admitted, by tenant.',
    labels: ['tenant'],
    read: ({ tenants }) => tenants.map(({ tenant, queued }) => one(queued, { tenant })),
  },
];
