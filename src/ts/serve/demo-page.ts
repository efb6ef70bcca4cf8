// The page of the demo: drop a picture, type a prompt, watch the stages, see the clip.
import { builtPart, type Page, singlePage } from '../observe/single-page.js';
import type { FastifyInstance } from './fastify.js';

/** The page and its policy. @throws RdmaError RDMA_ERR_NOT_SUPPORTED when the package was not built whole */
export function demoPage(): Page {
  return singlePage({
    title: 'Picture to clip',
    body: builtPart('serve', 'demo.html'),
    style: builtPart('serve', 'demo.css'),
    script: builtPart('serve', 'demo.js'),
    pictures: "'self' blob: data:",
  });
}

/** Adds the page at /demo. */
export function demoRoutes(app: FastifyInstance): void {
  const { html, contentSecurityPolicy } = demoPage();
  app.get('/demo', (_request, reply) =>
    reply.header('content-security-policy', contentSecurityPolicy).type('text/html; charset=utf-8').send(html),
  );
}
