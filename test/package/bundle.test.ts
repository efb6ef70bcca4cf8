// Proves that an application which a bundler has put into one file works with the addon beside it, or gets an error
// that names what to leave out of the bundle.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { buildSync } from 'esbuild';
import t from 'tap';
import { findRoot } from './root.js';

const root = findRoot();
// Outside the checkout, above which its package.json would be found.
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'onepiece-bundle-'));
t.teardown(() => fs.rmSync(folder, { recursive: true }));

function bundle(name: string, source: string, format: 'cjs' | 'esm' = 'cjs'): string {
  const outfile = path.join(folder, name, format === 'cjs' ? 'app.cjs' : 'app.mjs');
  // What esbuild's documentation has one write, as it turns `require` of a built-in module into an error.
  const js =
    format === 'cjs'
      ? ''
      : `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`;
  buildSync({
    ...{
      stdin: { contents: source, resolveDir: root },
      bundle: true,
      platform: 'node',
      format,
      outfile,
      banner: { js },
    },
    ...{ external: ['sharp'], logLevel: 'silent' },
    alias: Object.fromEntries(
      ['verbs', 'cluster', 'pipeline'].map((layer) => [
        `onepiece-rdma/${layer}`,
        path.join(root, 'lib', layer, 'index.js'),
      ]),
    ),
  });
  return outfile;
}

function runBundle(file: string, env: Record<string, string> = {}) {
  const { stdout, stderr } = spawnSync(process.execPath, [file], {
    ...{ cwd: folder, encoding: 'utf8', timeout: 60_000 },
    env: { ...process.env, ONEPIECE_RDMA_PREBUILD: '', ...env },
  });
  return { stdout: stdout.trim(), stderr };
}

const open = `const { Device } = require('onepiece-rdma/verbs');
  try { Device.open('soft0').close(); console.log('works'); } catch (e) { console.log(e.code + ': ' + e.remedy); }`;

void t.test('without the addon the error says what to leave out, and what to copy', async (t) => {
  const { stdout, stderr } = runBundle(bundle('alone', open));
  t.match(stdout, /^RDMA_ERR_NATIVE_MISSING: keep onepiece-rdma out of the bundle \(esbuild: --external:/, stderr);
  t.ok(stdout.includes(`copy the folder prebuilds of onepiece-rdma into ${path.join(folder, 'alone')}`), stdout);
});

void t.test('with prebuilds/ copied beside it, as the error says, it works', async (t) => {
  const file = bundle('beside', open);
  const place = path.join(folder, 'beside/prebuilds', `${process.platform}-${process.arch}`);
  fs.mkdirSync(place, { recursive: true });
  fs.copyFileSync(path.join(root, 'build/Release/onepiece.node'), path.join(place, 'onepiece-rdma.node'));
  t.equal(runBundle(file).stdout, 'works');
});

void t.test('an ES module, which has no __dirname, finds it beside it as well', async (t) => {
  const file = bundle('beside', open, 'esm');
  const { stdout, stderr } = runBundle(file);
  t.equal(stdout, 'works', stderr);
});

void t.test('with ONEPIECE_RDMA_PREBUILD naming the package it works', async (t) => {
  t.equal(runBundle(bundle('named', open), { ONEPIECE_RDMA_PREBUILD: root }).stdout, 'works');
});

void t.test('a pipeline, whose processes run files of the package, says what to leave out', async (t) => {
  const source = `const { LocalPipeline } = require('onepiece-rdma/cluster');
    const { workflow } = require('onepiece-rdma/pipeline');
    const wf = workflow('w', { module: __filename }).stage('a', { handler: () => ({}) });
    LocalPipeline.start(wf).catch((e) => { console.log(e.code + ': ' + e.remedy); });`;
  const { stdout, stderr } = runBundle(bundle('pipeline', source), { ONEPIECE_RDMA_PREBUILD: root });
  t.match(stdout, /^RDMA_ERR_NOT_SUPPORTED: keep onepiece-rdma out of the bundle/, stderr);
});
