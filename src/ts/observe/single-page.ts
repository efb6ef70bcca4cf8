// A page in one file: style, script and markup are in it, and its policy allows no others.
//
// Invariant: the policy names exactly the script and style that the page holds, and lets it ask no other origin, be
// framed by nobody, and send no forms.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RdmaError } from '../core/errors.js';
import { packageRoot } from '../addon/native.js';

/** A page and the header `Content-Security-Policy` that it is made for. */
export interface Page {
  readonly html: string;
  readonly contentSecurityPolicy: string;
}

/** What a page is made of. */
export interface PageParts {
  readonly title: string;
  /** Markup of the body, before the script. */
  readonly body: string;
  readonly style: string;
  readonly script: string;
  /** Where its pictures may come from, as `img-src` says it. */
  readonly pictures: string;
}

/**
 * Reads what the build has put beside a layer's code.
 *
 * @param layer name of its folder
 * @param name of the file
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when the package was not built whole
 */
export function builtPart(layer: string, name: string): string {
  const file = join(packageRoot(), 'lib', layer, 'page', name);
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const remedy = 'npm run build';
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `the page cannot be shown: ${file} is missing`, { remedy, cause });
  }
}

const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Puts a page together. See Content Security Policy Level 3, section 6.7.3 (hashes). */
export function singlePage({ title, body, style, script, pictures }: PageParts): Page {
  const contentSecurityPolicy = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "connect-src 'self'",
    `img-src ${pictures}`,
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
<title>${title}</title>
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
