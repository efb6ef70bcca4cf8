// Compiles the TypeScript: src/ts to lib/ and bench/ to build-bench/, or with --test everything to build-test/, the
// examples too: those against lib/, which they find by the name of the package.
//
// Invariant: after a success lib/ holds the output of exactly the sources that exist, and every subpath that
// package.json exports can be required and imported under the same names.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { benchFolder, compileBench } from './build-bench.mjs';
import { bundlePage, pageParts } from './bundle-page.mjs';
import { bundleName, bundleWorker } from './bundle-worker.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(path.join(root, 'package.json'));

const usage = `Usage: node scripts/build-ts.mjs [options]

  --test            compile the library, the tests, the benchmarks and the examples to build-test/ instead of the
                    library to lib/; the examples import lib/, which must be there
  --allow-missing   while the library is being written: pass over exported entries whose source does not exist yet
  --help            this text
`;

class BuildError extends Error {}

const manifest = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));

function listFiles(directory) {
  if (!fs.existsSync(directory)) return [];
  return fs
    .readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(directory, path.join(entry.parentPath ?? entry.path, entry.name)));
}

const isSource = (name) => name.endsWith('.ts') && !name.endsWith('.d.ts');
const withoutSuffix = (name) => name.replace(/\.ts$/, '');

/** The exported subpaths: {subpath, base}, where lib/<base>.js is the CommonJS module. */
function readEntries() {
  return Object.entries(manifest.exports)
    .filter(([, conditions]) => typeof conditions === 'object')
    .map(([subpath, conditions]) => {
      const base = conditions.require.default.replace(/^\.\/lib\//, '').replace(/\.js$/, '');
      for (const [condition, ending] of Object.entries({ import: 'mts mjs', require: 'ts js' })) {
        const [types, code] = ending.split(' ');
        const { types: typesTarget, default: target } = conditions[condition];
        if (typesTarget !== `./lib/${base}.d.${types}` || target !== `./lib/${base}.${code}`) {
          throw new BuildError(
            `package.json: exports["${subpath}"].${condition} must be lib/${base}.{d.${types},${code}}`,
          );
        }
      }
      return { subpath, base };
    });
}

/** Deletes compiled files whose source is gone; forgets tsc's memory when an output that it remembers is gone. */
function prune(outDir, sources, outputsOf, keep) {
  const expected = new Set([...sources.flatMap(outputsOf), ...keep]);
  const present = listFiles(outDir);
  for (const name of present) {
    if (expected.has(name) || !/(\.js|\.js\.map|\.d\.ts|\.mjs|\.d\.mts)$/.test(name)) continue;
    fs.rmSync(path.join(outDir, name), { force: true });
    let directory = path.dirname(path.join(outDir, name));
    while (directory !== outDir && fs.readdirSync(directory).length === 0) {
      fs.rmdirSync(directory);
      directory = path.dirname(directory);
    }
  }
  const has = new Set(present);
  if (sources.flatMap(outputsOf).some((name) => !has.has(name))) {
    fs.rmSync(path.join(outDir, '.tsbuildinfo'), { force: true });
  }
}

function compile(project) {
  let tsc;
  try {
    tsc = require.resolve('typescript/bin/tsc');
  } catch {
    throw new BuildError('typescript is not installed: run `npm ci` with the development dependencies.');
  }
  const pretty = process.stderr.isTTY ? ['--pretty'] : [];
  const result = spawnSync(process.execPath, [tsc, '-p', project, ...pretty], { cwd: root, encoding: 'utf8' });
  if (result.error) throw result.error;
  if (result.status !== 0) throw new BuildError(`tsc -p ${project} failed:\n${result.stdout}${result.stderr}`);
}

/** Writes only what differs, by rename: whoever is running from lib/ never sees half a file. */
function write(file, text) {
  if (fs.existsSync(file) && fs.readFileSync(file, 'utf8') === text) return;
  const scratch = `${file}.${process.pid}.tmp`;
  fs.writeFileSync(scratch, text);
  fs.renameSync(scratch, file);
}

/** Runs an ES module text in a child and answers the JSON that it prints last. */
function evaluate(text, about) {
  const args = ['--input-type=module', '-e', text];
  const result = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', timeout: 60_000 });
  if (result.status === 0) return JSON.parse(result.stdout.trimEnd().split('\n').at(-1));
  const hint = /No native build was found/.test(result.stderr)
    ? '\n  Remedy: node scripts/build-native.mjs (it comes before the TypeScript build)'
    : '';
  throw new BuildError(`${about} failed:\n${result.stderr}${hint}`);
}

function writeModules(entries) {
  const files = entries.map(({ base }) => path.join(root, 'lib', `${base}.js`));
  const names = evaluate(
    `import { createRequire } from 'node:module';
     const require = createRequire(${JSON.stringify(path.join(root, 'package.json'))});
     const names = ${JSON.stringify(files)}.map((file) => Object.keys(require(file)));
     console.log(JSON.stringify(names)); process.exit(0);`,
    'requiring the compiled library',
  );
  for (const [i, { base, subpath }] of entries.entries()) {
    const odd = names[i].find((name) => name === 'default' || !/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name));
    if (odd !== undefined) throw new BuildError(`${subpath} exports "${odd}", which has no ES module counterpart`);
    const cjs = `./${path.basename(base)}.js`;
    const list = names[i].sort();
    const body =
      list.length === 0 ? 'export {};' : `export const {\n${list.map((name) => `  ${name},\n`).join('')}} = cjs;`;
    write(path.join(root, 'lib', `${base}.mjs`), `import cjs from '${cjs}';\n\n${body}\n`);
    write(path.join(root, 'lib', `${base}.d.mts`), `export * from '${cjs}';\n`);
  }
  const wrong = evaluate(
    `import { createRequire } from 'node:module';
     const require = createRequire(${JSON.stringify(path.join(root, 'package.json'))});
     const wrong = [];
     for (const file of ${JSON.stringify(files)}) {
       const cjs = require(file);
       const esm = await import(file.replace(/js$/, 'mjs'));
       for (const name of new Set([...Object.keys(cjs), ...Object.keys(esm)])) {
         if (!(name in esm) || esm[name] !== cjs[name]) wrong.push(file + ': ' + name);
       }
     }
     console.log(JSON.stringify(wrong)); process.exit(0);`,
    'importing the compiled library',
  );
  if (wrong.length > 0) throw new BuildError(`require and import disagree:\n  ${wrong.join('\n  ')}`);
}

/** Where the report page of the benchmarks takes its parts from: our script and style, and uPlot's. */
const pageFolder = 'bench/page';

function copyPage() {
  const uplot = path.dirname(require.resolve('uplot/package.json'));
  const ours = path.join(root, 'src/ts', pageFolder);
  const files = {
    'report.js': path.join(ours, 'report.js'),
    'report.css': path.join(ours, 'report.css'),
    'uPlot.iife.min.js': path.join(uplot, 'dist/uPlot.iife.min.js'),
    'uPlot.min.css': path.join(uplot, 'dist/uPlot.min.css'),
    'uPlot.LICENSE': path.join(uplot, 'LICENSE'),
  };
  fs.mkdirSync(path.join(root, 'lib', pageFolder), { recursive: true });
  for (const [name, from] of Object.entries(files)) {
    write(path.join(root, 'lib', pageFolder, name), fs.readFileSync(from, 'utf8'));
  }
  return Object.keys(files).map((name) => `${pageFolder}/${name}`);
}

/** The page of the served demo: ours as it is. */
const servePageFolder = 'serve/page';

function copyServePage() {
  const names = ['demo.html', 'demo.css', 'demo.js'];
  fs.mkdirSync(path.join(root, 'lib', servePageFolder), { recursive: true });
  for (const name of names) {
    write(
      path.join(root, 'lib', servePageFolder, name),
      fs.readFileSync(path.join(root, 'src/ts', servePageFolder, name), 'utf8'),
    );
  }
  return names.map((name) => `${servePageFolder}/${name}`);
}

const bundle = [bundleName, `${bundleName}.map`];

async function writeBundle(outDir) {
  const files = await bundleWorker(root, outDir);
  for (const name of bundle) write(path.join(outDir, name), files[name]);
}

async function writeDashboard() {
  const files = await bundlePage(root);
  fs.mkdirSync(path.join(root, 'lib', path.dirname(pageParts[0])), { recursive: true });
  for (const name of pageParts) write(path.join(root, 'lib', name), files[name]);
}

/** What a checkout has beside the library: clients of other software, which `onepiece bench --compare` finds there. */
async function writeBench() {
  const sources = listFiles(path.join(root, 'bench')).filter(isSource).map(withoutSuffix);
  const outDir = path.join(root, benchFolder);
  prune(outDir, sources, (base) => [`${base}.js`, `${base}.js.map`], []);
  for (const [name, text] of await compileBench(root, sources)) {
    fs.mkdirSync(path.dirname(path.join(outDir, name)), { recursive: true });
    write(path.join(outDir, name), text);
  }
  return sources.length;
}

async function buildLibrary(allowMissing) {
  const sources = listFiles(path.join(root, 'src/ts')).filter(isSource).map(withoutSuffix);
  const bins = Object.values(manifest.bin).map((file) => file.replace(/^lib\//, '').replace(/\.js$/, ''));
  const declared = readEntries();
  const missing = [...declared.map(({ base }) => base), ...bins].filter((base) => !sources.includes(base));
  if (missing.length > 0) {
    const text = `package.json points at src/ts sources that do not exist: ${missing.map((base) => `${base}.ts`).join(', ')}`;
    if (!allowMissing) throw new BuildError(text);
    console.error(`ts: ${text}`);
  }
  const entries = declared.filter(({ base }) => sources.includes(base));
  const modules = entries.flatMap(({ base }) => [`${base}.mjs`, `${base}.d.mts`]);
  const page = copyPage();
  const servePage = copyServePage();
  prune(path.join(root, 'lib'), sources, (base) => [`${base}.js`, `${base}.js.map`, `${base}.d.ts`], [
    ...modules,
    ...page,
    ...servePage,
    ...pageParts,
    ...bundle,
  ]);
  compile('tsconfig.json');
  await writeBundle(path.join(root, 'lib'));
  await writeDashboard();
  writeModules(entries);
  const peers = await writeBench();
  for (const bin of bins.filter((base) => sources.includes(base))) {
    const file = path.join(root, 'lib', `${bin}.js`);
    if (!fs.readFileSync(file, 'utf8').startsWith('#!')) throw new BuildError(`src/ts/${bin}.ts lacks its #! line`);
    fs.chmodSync(file, 0o755);
  }
  return `lib/, ${sources.length} modules, ${entries.length} exported entries; build-bench/, ${peers} modules`;
}

async function buildTests() {
  const sources = ['src/ts', 'test', 'bench'].flatMap((directory) =>
    listFiles(path.join(root, directory)).map((name) => path.join(directory, name)),
  );
  const modules = sources.filter(isSource).map(withoutSuffix);
  const ours = 'build-test/src/ts'; // the library, compiled with its tests
  const examples = listFiles(path.join(root, 'examples'))
    .filter((name) => /\.m[jt]s$/.test(name))
    .map((name) => path.join('examples', name.replace(/\.mts$/, '.mjs')));
  const kept = [...bundle.map((name) => path.join('src/ts', name)), ...examples];
  prune(path.join(root, 'build-test'), modules, (base) => [`${base}.js`, `${base}.js.map`], kept);
  compile('tsconfig.test.json');
  await writeBundle(path.join(root, ours));
  if (!fs.existsSync(path.join(root, 'lib/index.d.ts')))
    throw new BuildError('the examples import the library: run `node scripts/build-ts.mjs` first');
  compile('examples/tsconfig.json');
  return `build-test/, ${modules.length} modules, ${examples.length} of examples`;
}

async function main() {
  const { values } = parseArgs({
    options: {
      test: { type: 'boolean', default: false },
      'allow-missing': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  const started = performance.now();
  const what = await (values.test ? buildTests() : buildLibrary(values['allow-missing']));
  console.log(`ts: ${what} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

try {
  await main();
} catch (error) {
  const known = error instanceof BuildError || error.code?.startsWith('ERR_PARSE_ARGS');
  console.error(`ts: ${known ? error.message : error.stack}`);
  process.exitCode = 1;
}
