// The report as one page that needs nothing else.
//
// Invariant: script, style and data are in the file, and its policy forbids every request; text from outside is never
// markup.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RdmaError } from '../../core/errors.js';
import { packageRoot } from '../../addon/native.js';
import type { BenchReport } from '../kit/report.js';
import type { RingComparison, RingResult } from './result.js';
import type { RingRun } from './run.js';

/** What --json prints. */
export interface RingDocument extends BenchReport<RingResult> {
  peers: RingRun['peers'];
  comparisons: RingComparison[];
  failures: RingRun['failures'];
}

/** What is true of this run, beyond its figures. */
export interface Occasion {
  /** Of onepiece-rdma. */
  version: string;
  /** As it was typed. */
  command: string;
  takenAt: Date;
}

/** Put there by the build: the parts of the page, uPlot's among them. */
function part(name: string): string {
  const file = join(packageRoot(), 'lib', 'bench', 'page', name);
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `the report cannot be made: ${file} is missing`, {
      remedy: 'npm run build',
      cause,
    });
  }
}

/** JSON that cannot end its script element. */
const embedded = (value: unknown) => JSON.stringify(value).replace(/</g, '\\u003c');
const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/**
 * The page.
 *
 * @returns HTML, about 80 KB and the figures
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when the package was not built whole
 */
export function reportPage(document: RingDocument, { version, command, takenAt }: Occasion): string {
  const data = embedded({
    ...document,
    version,
    command,
    takenAt: takenAt.toISOString().slice(0, 16).replace('T', ' '),
  });
  const styles = [part('uPlot.min.css'), part('report.css')];
  const scripts = [part('uPlot.iife.min.js'), part('report.js')];
  // Style attributes are the charts' own.
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src ${scripts.map(hash).join(' ')}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>Rings beside their peers</title>
<!--
uPlot is inlined below:
${part('uPlot.LICENSE').trim()}
-->
${styles.map((text) => `<style>${text}</style>`).join('\n')}
</head>
<body>
<main></main>
<noscript><p>The charts of this page are drawn by its script.</p></noscript>
<script type="application/json" id="data">${data}</script>
${scripts.map((text) => `<script>${text}</script>`).join('\n')}
</body>
</html>
`;
}
