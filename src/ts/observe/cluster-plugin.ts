// The routes of a cluster's dashboard, for a Fastify server: page, data and metrics.
//
// Invariant: no route changes anything. All are for operators. Fastify comes from whoever registers the plugin.
import type { FastifyInstance } from 'fastify';
import { sendPage, sendUnavailable } from './answers.js';
import type { ClusterMetrics } from './cluster-metrics.js';
import type { ClusterObserver } from './cluster-observer.js';
import { metricsRoute } from './metrics-route.js';
import { registerMetrics } from './prom-client.js';
import { builtPart, singlePage } from './single-page.js';

/** Where the dashboard of a cluster and its data are. The page itself holds no data. */
export const CLUSTER_ROUTES = { page: '/', snapshot: '/v1/cluster', metrics: '/metrics' } as const;

/** What of it is served. */
export interface ClusterPluginOptions {
  /** Adds `/metrics`, which needs prom-client; they are closed with the server. Default: there is no such route. */
  metrics?: ClusterMetrics;
}

/**
 * Makes a plugin: `await app.register(clusterPlugin(observer))`. The observer is closed with the server.
 *
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED, when it is registered, without a whole build, or without prom-client where
 *   metrics are wanted
 */
export function clusterPlugin(
  observer: ClusterObserver,
  options: ClusterPluginOptions = {},
): (app: unknown) => Promise<void> {
  return async (server) => {
    // Whoever registers a plugin has Fastify, and its types; nobody else needs them.
    const app = server as FastifyInstance;
    const page = singlePage({
      title: 'onepiece cluster',
      body: '<noscript><p>This page is drawn by its script.</p></noscript>',
      style: builtPart('observe', 'dashboard.css'),
      script: builtPart('observe', 'cluster.js'),
      pictures: 'data:',
    });
    app.addHook('onClose', async () => {
      observer.close();
      options.metrics?.close();
    });
    const guarded = { config: { needsOperator: true } as object };

    // A browser that was let in shows the same to the page's own requests.
    app.get(CLUSTER_ROUTES.page, guarded, (_request, reply) => sendPage(reply, page));

    app.get(CLUSTER_ROUTES.snapshot, guarded, async (_request, reply) => {
      try {
        const snapshot = await observer.snapshot();
        return reply.header('cache-control', 'no-store').send(snapshot);
      } catch (error) {
        return sendUnavailable(reply, error);
      }
    });

    const { metrics } = options;
    if (metrics !== undefined) metricsRoute(app, CLUSTER_ROUTES.metrics, registerMetrics(metrics));
  };
}
