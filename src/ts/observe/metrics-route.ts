// The route that Prometheus scrapes.
//
// Invariant: it is for operators; while the pipeline is closed it answers 503 with a problem document.
import type { FastifyInstance } from 'fastify';
import { sendUnavailable } from './answers.js';
import type { MetricsRegistry } from './prom-client.js';

/** Adds the route to a server. @param path such as `/metrics` */
export function metricsRoute(app: FastifyInstance, path: string, registry: MetricsRegistry): void {
  app.get(path, { config: { needsOperator: true } as object }, async (_request, reply) => {
    try {
      const text = await registry.metrics();
      return reply.header('content-type', registry.contentType).send(text);
    } catch (error) {
      return sendUnavailable(reply, error);
    }
  });
}
