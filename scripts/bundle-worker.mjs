// Bundles all that a worker process needs of this package into one file: it is read, parsed and run three times as fast
// as a hundred files.
//
// Invariant: the same sources give the same bytes. The bundle holds every module that the package's root reaches,
// whole, so that none of them can be loaded a second time from a file of its own.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

/** Where the bundle is, below the compiled sources. */
export const bundleName = 'cluster/worker-bundle.js';
/** The modules that a worker begins with, besides what the root exports. */
const workerModules = ['cluster/shared-modules', 'cluster/worker-main'];
/**
 * Found by Node.js: the first when the addon is loaded, as it looks for files beside itself; the others when a store is
 * opened.
 */
const external = ['node-gyp-build', '@nats-io/*', 'lmdb', 'redis'];

const options = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  charset: 'ascii', // V8 keeps such a text in one byte a character
  logLevel: 'silent',
};

/** The modules of ours that `entries` import, in the order of their names. */
async function reach(esbuild, sourceDir, entries) {
  const { metafile } = await esbuild.build({
    ...options,
    external,
    absWorkingDir: sourceDir,
    entryPoints: entries.map((name) => `${name}.ts`),
    outdir: 'unwritten',
    write: false,
    metafile: true,
  });
  return Object.keys(metafile.inputs)
    .filter((name) => !name.startsWith('..'))
    .map((name) => name.replace(/\.ts$/, ''))
    .sort();
}

/** The program that is bundled: it imports every module by name, enters them, and exports how a worker begins. */
function program(modules) {
  const imports = modules.map((name, i) => `import * as m${i} from './${name}.js';`);
  const entries = modules.map((name, i) => `  '${name}.js': m${i},`);
  return [
    "import { join } from 'node:path';",
    "import { shareModules } from './cluster/shared-modules.js';",
    "export { runWorker } from './cluster/worker-main.js';",
    ...imports,
    "shareModules(join(__dirname, '..'), {",
    ...entries,
    '});',
  ].join('\n');
}

/** The licence of a dependency that is bundled, as a comment. */
function licence(require, name) {
  const [folder] = require.resolve.paths(name).filter((at) => fs.existsSync(path.join(at, name)));
  const text = fs.readFileSync(path.join(folder, name, 'LICENSE.md'), 'utf8').trim();
  return `/*\nThis file contains parts of ${name}:\n\n${text.replaceAll('*/', '* /')}\n*/`;
}

/**
 * Answers the files of the bundle, {name: text}: the program and its source map.
 *
 * @param root the folder of the package
 * @param outDir where the compiled sources are, absolute; the map leads from there to src/ts
 */
export async function bundleWorker(root, outDir) {
  const require = createRequire(path.join(root, 'package.json'));
  const esbuild = require('esbuild');
  const sourceDir = path.join(root, 'src/ts');
  const modules = await reach(esbuild, sourceDir, ['index', ...workerModules]);
  const { outputFiles } = await esbuild.build({
    ...options,
    external,
    absWorkingDir: root,
    stdin: { contents: program(modules), resolveDir: sourceDir, sourcefile: 'worker-bundle.ts', loader: 'ts' },
    outfile: path.join(outDir, bundleName),
    sourcemap: 'linked',
    legalComments: 'none',
    banner: { js: licence(require, 'valibot') },
    write: false,
  });
  const text = outputFiles.find((file) => file.path.endsWith('.js')).text;
  if (/\bimport\(/.test(text)) throw new Error(`${bundleName}: a script that V8 has compiled before cannot import`);
  return Object.fromEntries(outputFiles.map((file) => [path.relative(outDir, file.path), file.text]));
}
