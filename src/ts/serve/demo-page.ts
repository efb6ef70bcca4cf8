// The page of the demo: drop a picture, type a prompt, watch the stages, see the clip.
//
// Invariant: script and style are in the page, and its policy allows no other script, no other origin and no frame.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RdmaError } from '../core/errors.js';
import { packageRoot } from '../verbs/native.js';
import type { FastifyInstance } from './fastify.js';

/** Put there by the build. */
function part(name: string): string {
  const file = join(packageRoot(), 'lib', 'serve', 'page', name);
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `the page cannot be shown: ${file} is missing`, {
      remedy: 'npm run build',
      cause,
    });
  }
}

const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** The page and its policy. @throws RdmaError RDMA_ERR_NOT_SUPPORTED when the package was not built whole */
export function demoPage(): { html: string; contentSecurityPolicy: string } {
  const [body, style, script] = [part('demo.html'), part('demo.css'), part('demo.js')];
  const contentSecurityPolicy = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "img-src 'self' blob: data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Picture to clip</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
${body}
<script>${script}</script>
</body>
</html>
`;
  return { html, contentSecurityPolicy };
}

/** Adds the page at /demo. */
export function demoRoutes(app: FastifyInstance): void {
  const { html, contentSecurityPolicy } = demoPage();
  app.get('/demo', (_request, reply) =>
    reply.header('content-security-policy', contentSecurityPolicy).type('text/html; charset=utf-8').send(html),
  );
}
