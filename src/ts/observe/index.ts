// The observe layer: what a pipeline is doing, for people, Prometheus and OpenTelemetry.
export { ClusterObserver, type ClusterSnapshot, type ClusterWatched, type PlaceMove } from './cluster-observer.js';
export {
  CLUSTER_METRICS,
  type ClusterFigures,
  type ClusterMeasured,
  ClusterMetrics,
  type ClusterMetricsOptions,
} from './cluster-metrics.js';
export { CLUSTER_ROUTES, clusterPlugin, type ClusterPluginOptions } from './cluster-plugin.js';
export type { Metric, MetricFamily, MetricValue } from './metric.js';
export { METRICS } from './metrics.js';
export { type Observable, Observer, type ObserverOptions } from './observer.js';
export { openSpans } from './opentelemetry.js';
export { dashboardPage } from './page.js';
export type { Page } from './single-page.js';
export { OBSERVE_ROUTES, observePlugin, type ObservePluginOptions } from './plugin.js';
export { type MetricsOptions, type MetricsSource, registerMetrics } from './prom-client.js';
export type { Snapshot } from './snapshot.js';
export { SnapshotStream, type SnapshotStreamOptions } from './snapshot-stream.js';
export type { RequestSpan, RequestSpans, ServerSpan, ServerSpans } from './spans.js';
