// The page at /docs: the OpenAPI document for people, without a script.
//
// Invariant: whatever the document says is text on the page, never markup; it asks nobody for anything.
import { createHash } from 'node:crypto';
import { COMMON_PROBLEMS, REQUEST_CONTENT, ROUTES, type RouteSpec } from './routes.js';
import { CODE_STATUSES, STATUS_TITLES } from './problem.js';
import type { Schema } from './schemas.js';

const STYLE = `:root{color-scheme:light dark;--ink:#1c2430;--dim:#5b6675;--line:#d8dee6;--paper:#fff;--soft:#f4f6f9;--accent:#0b5fad}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9f0;--dim:#9aa6b5;--line:#303a47;--paper:#12171e;--soft:#1a212a;--accent:#7ab8f5}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:1.5rem 1rem 4rem}h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.05rem;margin:2.25rem 0 .25rem}
p{margin:.25rem 0 .75rem}.dim,dd{color:var(--dim)}code,pre{font:.9em ui-monospace,monospace}code{overflow-wrap:anywhere}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.75rem;overflow-x:auto}
.method{display:inline-block;min-width:4.5rem;color:var(--accent);font-weight:600}section{border-top:1px solid var(--line)}
dl{margin:.5rem 0;display:grid;grid-template-columns:minmax(8rem,auto) 1fr;gap:.25rem 1rem}dt,dd{margin:0;min-width:0}
a{color:var(--accent)}:focus-visible{outline:2px solid var(--accent);outline-offset:2px}h3{font-size:.85rem;margin:.75rem 0 0;color:var(--dim);font-weight:600}
@media(max-width:36rem){dl{grid-template-columns:1fr}dd{padding-left:1rem}}`;

/** Forbids the page everything but its style. */
export const DOCS_POLICY = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`;

const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string) => text.replace(/[&<>"]/g, (character) => escapes[character]!);
const code = (text: string) => `<code>${escaped(text)}</code>`;

/**
 * Makes the page.
 *
 * @param about the workflow's name, and whether requests need a token
 */
export function docsPage({ workflow, hasTokens }: { workflow: string; hasTokens: boolean }): string {
  const token = hasTokens ? " -H 'Authorization: Bearer TOKEN'" : '';
  const example = `# submit a job, look at it, follow it, read a part of its result, cancel it
curl${token} -i -F x=@x.npy -F 'meta={"name":"value"}' HOST/v1/jobs
curl${token} HOST/v1/jobs/ID
curl${token} -N HOST/v1/jobs/ID/events
curl${token} HOST/v1/jobs/ID/result/STAGE/PART -o part
curl${token} -X DELETE HOST/v1/jobs/ID`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(workflow)}: the interface</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escaped(workflow)}</h1>
<p class="dim">The HTTP interface of this workflow. For programs: <a href="/openapi.json">openapi.json</a>.</p>
<pre tabindex="0">${escaped(example)}</pre>
<section><h2>Bodies</h2>
<p>A request of the workflow is metadata and named tensors. It comes as one of these:</p>
<p>${Object.keys(REQUEST_CONTENT).map(code).join(', ')}</p></section>
<section><h2>Errors</h2>
<p>An error is a problem document (RFC 9457) with a <code>code</code>. 429 and 503 say in <code>Retry-After</code> when to come back.</p>
${list(Object.entries(CODE_STATUSES).map(([name, status]) => [name, `${status} ${STATUS_TITLES[status] ?? ''}`]))}</section>
${Object.values<RouteSpec>(ROUTES).map(section).join('\n')}
</main>
</body>
</html>
`;
}

function section(route: RouteSpec): string {
  const title = `<span class="method">${route.method}</span> ${code(route.url.replace(/:([a-z]+)/g, '{$1}'))}`;
  const asked = [...fields(route.params), ...fields(route.query), ...Object.entries(route.headers ?? {})];
  const answered = Object.entries(route.answers).map(([status, { about, content }]): [string, string] => [
    status,
    content === undefined ? about : `${about} ${Object.keys(content).join(', ')}`,
  ]);
  const problems = [...new Set([...COMMON_PROBLEMS, ...route.problems])].sort((a, b) => a - b).join(', ');
  return `<section id="${route.id}"><h2>${title}</h2>
<p>${escaped(route.summary)}${route.isOpen ? ' Needs no token.' : ''}</p>
${asked.length > 0 ? `<h3>Takes</h3>${list(asked)}` : ''}<h3>Answers</h3>${list([...answered, ['problems', problems]])}</section>`;
}

function fields(schema: Schema | undefined): [string, string][] {
  const properties = (schema?.properties ?? {}) as Record<string, { description?: string }>;
  return Object.entries(properties).map(([name, { description = '' }]) => [name, description]);
}

function list(items: readonly [string, string][]): string {
  return `<dl>${items.map(([name, about]) => `<dt>${code(name)}</dt><dd>${escaped(about)}</dd>`).join('')}</dl>`;
}
