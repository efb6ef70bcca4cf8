// The metrics of one gateway to a cluster: its requests, and what it knows of the places without asking anybody.
//
// Invariant: a scrape asks neither the store nor a node. What a stage does inside is not here, as its process is
// elsewhere: a metric that is not known is absent, never 0. What a gateway of a version has counted ends with it.
import type { RequestWatcher } from '../cluster/index.js';
import { checkFunction, checkInteger, checkObject } from '../core/validate.js';
import type { GatewayStatus, WorkflowSpec } from '../pipeline/index.js';
import { countRequests } from './count-requests.js';
import { GATEWAY_METRICS, type GatewayMetricsInput } from './gateway-metrics.js';
import { type Metric, type MetricFamily, one, readMetrics } from './metric.js';
import { RequestLog } from './request-log.js';
import { stageOf } from './sample.js';
import { gatewayView, tenantsOf } from './snapshot.js';

/** What a gateway knows of its cluster: part of a ClusterPipeline's status. */
export interface ClusterFigures {
  readonly gateway: GatewayStatus;
  readonly places: Readonly<Record<string, { readonly node: string; readonly state: string }>>;
  readonly unplaced: readonly string[];
  /** Why the control store was last of no use; undefined while all goes well. */
  readonly control: unknown;
}

/** Whose metrics they are: a ClusterPipeline, or what looks like one. */
export interface ClusterMeasured {
  /** The workflow that takes the requests now. */
  readonly graph: WorkflowSpec;
  status(): ClusterFigures;
  watchRequests(watcher: RequestWatcher): () => void;
}

interface Input extends GatewayMetricsInput {
  readonly figures: ClusterFigures;
}

/** All metrics of a gateway to a cluster, in the order of the output. */
export const CLUSTER_METRICS: readonly Metric<Input>[] = [
  ...GATEWAY_METRICS,
  {
    name: 'onepiece_cluster_places',
    type: 'gauge',
    help: 'Places of the workflow, by node, stage and state.',
    labels: ['node', 'stage', 'state'],
    read: ({ figures }) => placeCounts(figures),
  },
  {
    name: 'onepiece_cluster_unplaced',
    type: 'gauge',
    help: 'Instances that are wanted and have no node.',
    labels: [],
    read: ({ figures }) => [one(figures.unplaced.length)],
  },
  {
    name: 'onepiece_cluster_store_answers',
    type: 'gauge',
    help: 'Whether the control store answers this gateway: 1, or 0.',
    labels: [],
    read: ({ figures }) => [one(figures.control === undefined ? 1 : 0)],
  },
];

function placeCounts({ places }: ClusterFigures) {
  const counts = new Map<string, { labels: Record<string, string>; count: number }>();
  for (const [place, { node, state }] of Object.entries(places)) {
    const labels = { node, stage: stageOf(place), state };
    const key = JSON.stringify(labels);
    const known = counts.get(key);
    if (known === undefined) counts.set(key, { labels, count: 1 });
    else known.count++;
  }
  return [...counts.values()].map(({ labels, count }) => one(count, labels));
}

/** How to measure. */
export interface ClusterMetricsOptions {
  /** Tenants that metrics name, 1 to 1000; default 32. The rest is `other`. */
  maxTenants?: number;
}

/** Made for one gateway; `registerMetrics(new ClusterMetrics(pipeline))` gives them to prom-client. */
export class ClusterMetrics implements Disposable {
  /** Which metrics there are. */
  readonly heads: readonly Omit<MetricFamily, 'values'>[] = CLUSTER_METRICS;
  private readonly log: RequestLog;
  private readonly maxTenants: number;
  private readonly stopWatching: () => void;

  /**
   * Begins to count the requests of a gateway.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  constructor(
    private readonly pipeline: ClusterMeasured,
    options: ClusterMetricsOptions = {},
  ) {
    checkObject('pipeline', pipeline);
    checkFunction('pipeline.watchRequests', pipeline.watchRequests);
    this.maxTenants = checkInteger(
      'maxTenants',
      checkObject<ClusterMetricsOptions>('options', options).maxTenants ?? 32,
      1,
      1000,
    );
    this.log = new RequestLog(pipeline.graph, 0, this.maxTenants); // nobody looks at single requests
    this.stopWatching = pipeline.watchRequests(countRequests(this.log, undefined));
  }

  /**
   * All metrics now.
   *
   * @throws RdmaError RDMA_ERR_CLOSED when the pipeline is closed
   */
  async metrics(): Promise<MetricFamily[]> {
    const figures = this.pipeline.status();
    const requests = this.log.counts();
    const { gateway } = figures;
    const tenants = tenantsOf(requests, gateway.queue.tenants, this.maxTenants);
    return readMetrics(CLUSTER_METRICS, { requests, gateway: gatewayView(gateway), tenants, figures });
  }

  /** Counts no more. */
  close(): void {
    this.stopWatching();
  }

  /** As {@link ClusterMetrics.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
