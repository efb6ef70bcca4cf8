// The metrics in a registry of prom-client, and as text. The only file that loads prom-client, an optional peer
// dependency.
//
// Invariant: prom-client is loaded when a registry is asked for, not before. A scrape looks at the pipeline once,
// whatever number of metrics there are.
import type { Registry } from 'prom-client';
import { RdmaError } from '../core/errors.js';
import type { MetricFamily } from './metric.js';

/** A registry of prom-client, as far as its types are needed here: whoever has none of prom-client can read them. */
export interface MetricsRegistry {
  /** All metrics as text. */
  metrics(): Promise<string>;
  /** The media type of that text. */
  readonly contentType: string;
}

/** Where metrics come from: an Observer, or ClusterMetrics. */
export interface MetricsSource {
  /** Which there are; always the same. */
  readonly heads: readonly Omit<MetricFamily, 'values'>[];
  /** All of them, with their values now. */
  metrics(): Promise<MetricFamily[]>;
}

/** How to register. */
export interface MetricsOptions {
  /** Where the metrics go, a Registry of prom-client; default a new one. */
  registry?: MetricsRegistry;
  /** Adds what prom-client knows of this process: CPU, memory, the event loop; default true for a new registry. */
  processMetrics?: boolean;
}

/**
 * Registers the metrics of a pipeline with prom-client.
 *
 * @param source the Observer of a pipeline on this host, or the ClusterMetrics of a gateway to a cluster
 * @returns the registry: `await registry.metrics()` is the text, `registry.contentType` its type
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when prom-client is not installed
 */
export function registerMetrics(source: MetricsSource, options: MetricsOptions = {}): MetricsRegistry {
  const client = loadPromClient();
  const registry = (options.registry ?? new client.Registry()) as Registry;
  let scrape: Promise<ReadonlyMap<string, MetricFamily>> | undefined;
  const families = () => {
    scrape ??= source
      .metrics()
      .then((list) => new Map(list.map((family) => [family.name, family])))
      .finally(() => {
        scrape = undefined;
      });
    return scrape;
  };
  for (const { name, type, help } of source.heads) {
    const metric = {
      name, // prom-client takes `_total` off it for OpenMetrics
      type,
      help,
      aggregator: 'sum',
      async get() {
        const family = (await families()).get(name);
        const values = (family?.values ?? []).map(({ suffix, labels, value }) =>
          suffix === '' ? { labels, value } : { labels, value, metricName: `${metric.name}${suffix}` },
        );
        return { name: metric.name, type, help, aggregator: 'sum', values };
      },
      reset() {}, // they are the pipeline's
    };
    // The types of prom-client know its own classes only.
    registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
  }
  if (options.processMetrics ?? options.registry === undefined) client.collectDefaultMetrics({ register: registry });
  return registry;
}

/** @internal Before anything is started. @throws RdmaError RDMA_ERR_NOT_SUPPORTED when prom-client is not installed */
export function checkPromClient(): void {
  loadPromClient();
}

function loadPromClient(): typeof import('prom-client') {
  try {
    return require('prom-client');
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', 'metrics need prom-client, which is not installed', {
      remedy: 'npm install prom-client',
      cause,
    });
  }
}
