// Bundles the dashboards: a script for each and one style sheet, with the libraries that they use and their licences.
//
// Invariant: the same sources give the same bytes, and nothing in them asks another server for anything.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

/** Where the parts of the page are, below the compiled sources. */
export const pageParts = ['observe/page/dashboard.js', 'observe/page/dashboard.css', 'observe/page/cluster.js'];

function licence(require, name) {
  const [folder] = require.resolve.paths(name).filter((at) => fs.existsSync(path.join(at, name)));
  const text = fs.readFileSync(path.join(folder, name, 'LICENSE'), 'utf8').trim();
  return `/*\nThis page contains parts of ${name}:\n\n${text.replaceAll('*/', '* /')}\n*/\n`;
}

/**
 * Answers the parts, {name: text}.
 *
 * @param root the folder of the package
 */
export async function bundlePage(root) {
  const require = createRequire(path.join(root, 'package.json'));
  const esbuild = require('esbuild');
  const folder = path.join(root, 'src/ts/observe/page');
  const bundle = (entry) =>
    esbuild.build({
      absWorkingDir: root,
      entryPoints: [path.join(folder, entry)],
      bundle: true,
      minify: true,
      platform: 'browser',
      format: 'iife',
      target: 'es2022',
      charset: 'ascii',
      legalComments: 'none',
      logLevel: 'silent',
      write: false,
    });
  const entries = ['main.mjs', 'dashboard.css', 'cluster.mjs'];
  const [script, style, cluster] = await Promise.all(entries.map(bundle));
  const licences = ['uplot', '@dagrejs/dagre'].map((name) => licence(require, name)).join('');
  const js = `${licences}${script.outputFiles[0].text}`;
  // It is put into a script element of the page.
  const clusterJs = cluster.outputFiles[0].text;
  for (const text of [js, clusterJs]) {
    if (/<\/script|<!--/i.test(text)) throw new Error('the text of a page would end its script element');
  }
  return { [pageParts[0]]: js, [pageParts[1]]: style.outputFiles[0].text, [pageParts[2]]: clusterJs };
}
