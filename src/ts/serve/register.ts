// From a route as data to a route of Fastify.
import type { FastifyInstance, FastifyReply, FastifyRequest } from './fastify.js';
import type { GuardConfig } from './guard.js';
import { JSON_TYPE } from './media.js';
import type { RouteSpec } from './routes.js';
import { REQUEST_BODY } from './schemas.js';

/** Answers a request: with what is sent as JSON, or with the reply after it was sent. */
export type Handler = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

/** Adds a route: what it takes is checked before the handler sees it. */
export function register(app: FastifyInstance, route: RouteSpec, handler: Handler): void {
  const config: GuardConfig = { isOpen: route.isOpen ?? false, takesRequest: route.takesRequest ?? false };
  app.route({
    method: route.method,
    url: route.url,
    exposeHeadRoute: route.method === 'GET' && !route.isStream,
    config,
    schema: {
      querystring: route.query,
      ...(route.params === undefined ? {} : { params: route.params }),
      ...(route.takesRequest ? { body: { content: { [JSON_TYPE]: { schema: REQUEST_BODY } } } } : {}),
    },
    handler,
  });
}
