// The routes of the dashboard, for a Fastify server: page, snapshot, live snapshots and metrics.
//
// Invariant: no route changes anything. Fastify comes from whoever registers the plugin; nothing of it is loaded here.
import type { FastifyInstance } from 'fastify';
import { sendPage, sendProblem, sendUnavailable } from './answers.js';
import type { Observer } from './observer.js';
import { dashboardPage } from './page.js';
import { metricsRoute } from './metrics-route.js';
import { registerMetrics } from './prom-client.js';
import { SnapshotStream, type SnapshotStreamOptions } from './snapshot-stream.js';

/** What of it is served. */
export interface ObservePluginOptions extends SnapshotStreamOptions {
  /** `/metrics`, which needs prom-client; default true. */
  metrics?: boolean;
}

/** Where the dashboard and its data are. The page itself holds no data, so it may be served without a token. */
export const OBSERVE_ROUTES = {
  page: '/',
  snapshot: '/v1/status',
  events: '/v1/status/events',
  metrics: '/metrics',
} as const;

/**
 * Makes a plugin: `await app.register(observePlugin(observer))`.
 *
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED, when it is registered, without prom-client or a whole build
 */
export function observePlugin(observer: Observer, options: ObservePluginOptions = {}): (app: unknown) => Promise<void> {
  return async (server) => {
    // Whoever registers a plugin has Fastify, and its types; nobody else needs them.
    const app = server as FastifyInstance;
    const page = dashboardPage();
    const stream = new SnapshotStream(observer, options);
    app.addHook('preClose', async () => stream.close());

    // As the server of this package takes it: a page without data needs no token, and the data is for operators.
    const open = { config: { isOpen: true } as object };
    const guarded = { config: { needsOperator: true } as object };
    app.get(OBSERVE_ROUTES.page, open, (_request, reply) => sendPage(reply, page));

    app.get(OBSERVE_ROUTES.snapshot, guarded, async (_request, reply) => {
      try {
        const snapshot = await observer.snapshot();
        return reply.header('cache-control', 'no-store').send(snapshot);
      } catch (error) {
        return sendUnavailable(reply, error);
      }
    });

    app.get(OBSERVE_ROUTES.events, guarded, (_request, reply) => {
      if (stream.isFull) {
        return sendProblem(reply.header('retry-after', '5'), 503, 'RDMA_ERR_BUSY', 'too many listeners are connected');
      }
      reply.hijack();
      const { raw } = reply;
      // Its end is that of the connection: no frame around each snapshot.
      raw.useChunkedEncodingByDefault = false;
      raw.writeHead(200, {
        ...(reply.getHeaders() as Record<string, string>),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      raw.flushHeaders();
      stream.add(raw);
      return reply;
    });

    if (options.metrics === false) return;
    metricsRoute(app, OBSERVE_ROUTES.metrics, registerMetrics(observer));
  };
}
