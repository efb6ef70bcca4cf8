// The dashboard as one page that needs nothing else.
//
// Invariant: script and style are in the file, and its policy allows no others; it asks only the server that it came
// from. There is no data in it: it may be served to anybody, and asks for a token when its data wants one.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RdmaError } from '../core/errors.js';
import { packageRoot } from '../verbs/native.js';

/** A page and the header `Content-Security-Policy` that it is made for. */
export interface Page {
  readonly html: string;
  readonly contentSecurityPolicy: string;
}

/** Put there by the build, with the libraries that it uses. */
function part(name: string): string {
  const file = join(packageRoot(), 'lib', 'observe', 'page', name);
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `there is no dashboard: ${file} is missing`, {
      remedy: 'npm run build',
      cause,
    });
  }
}

const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/**
 * The dashboard.
 *
 * @returns HTML of about 150 KB that finds its data at `v1/status/events`, relative to itself
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when the package was not built whole
 */
export function dashboardPage(): Page {
  const script = part('dashboard.js');
  const style = part('dashboard.css');
  const rules = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>onepiece</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
<noscript><p>This page is drawn by its script.</p></noscript>
<script>${script}</script>
</body>
</html>
`;
  return { html, contentSecurityPolicy: rules.join('; ') };
}
