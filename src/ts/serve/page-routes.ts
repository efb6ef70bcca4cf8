// Health, the workflow, and the documentation of the interface.
import type { ServerContext } from './context.js';
import { DOCS_POLICY, docsPage } from './docs-page.js';
import type { FastifyInstance } from './fastify.js';
import { openApiDocument } from './openapi.js';
import { register } from './register.js';
import { ROUTES } from './routes.js';

/** Adds the routes. */
export function pageRoutes(app: FastifyInstance, context: ServerContext): void {
  const { settings, version, readiness, drainEndMs } = context;
  const hasTokens = settings.tokens !== undefined;
  const document = openApiDocument({ workflow: context.spec.name, version, hasTokens });
  const page = docsPage({ workflow: context.spec.name, hasTokens });
  register(app, ROUTES.workflow, async () => context.spec);
  register(app, ROUTES.live, async () => ({ status: 'live' }));
  register(app, ROUTES.ready, async (_request, reply) => {
    const status = readiness();
    if (status === 'ready') return { status };
    const waitMs = status === 'draining' ? drainEndMs() - performance.now() : 0;
    return reply
      .code(503)
      .header('retry-after', String(Math.max(1, Math.ceil(waitMs / 1000))))
      .send({ status });
  });
  register(app, ROUTES.openapi, async () => document);
  register(app, ROUTES.docs, async (_request, reply) =>
    reply.header('content-security-policy', DOCS_POLICY).type('text/html; charset=utf-8').send(page),
  );
}
