// `npm run check:package`: what a user of the registry would get, packed, inspected, installed and run.
//
// Invariant: the checkout is only read (and brought up to date in build/ and lib/). The prebuilt addon is made in a
// temporary copy of it, which is also what gets packed; every temporary directory is gone afterwards. Installing asks
// the registry only for the dependencies, and runs no install script: the package has to work without one.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const manifest = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
const prebuild = `prebuilds/${process.platform}-${process.arch}/${manifest.name}.node`;
/** Top-level names of the checkout that the copy does without. */
const left = /^(node_modules|\.git|build|build-.*|prebuilds|\.tap|.*\.tgz)$/;

class CheckError extends Error {}

const say = (text) => console.log(`package: ${text}`);

/** Runs a command; answers its stdout, or throws everything that it printed. */
function run(command, args, cwd, env = {}) {
  const result = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    timeout: 300_000,
  });
  if (result.status === 0) return result.stdout;
  const why = result.error?.message ?? result.signal ?? `exit ${result.status}`;
  throw new CheckError(`${command} ${args.join(' ')} (${why}):\n${result.stdout}${result.stderr}`);
}

const node = (args, cwd, env) => run(process.execPath, args, cwd, env);
const tool = (name, args, cwd, env) => run(path.join(root, 'node_modules/.bin', name), args, cwd, env);

/** The checkout without what is built or installed, and with its lib/. */
function stage(directory) {
  for (const name of fs.readdirSync(root).filter((entry) => !left.test(entry))) {
    fs.cpSync(path.join(root, name), path.join(directory, name), { recursive: true });
  }
  fs.symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'));
}

function makePrebuild(directory) {
  const nodedir = node([path.join(root, 'scripts/build-native.mjs'), '--nodedir'], root).trim();
  tool('prebuildify', ['--napi', '--strip', '-t', process.version], directory, { npm_config_nodedir: nodedir });
  if (!fs.existsSync(path.join(directory, prebuild))) {
    const made = fs.readdirSync(path.join(directory, 'prebuilds'), { recursive: true });
    throw new CheckError(`prebuildify made ${made.join(', ')}, not ${prebuild}`);
  }
}

/** The names in the tarball against what has to be, and what must not be, there. */
function checkContent(files) {
  const has = new Set(files);
  const native = fs
    .readdirSync(path.join(root, 'src/native'), { recursive: true })
    .filter((name) => /\.(cc|h|txt)$/.test(name))
    .map((name) => `src/native/${name}`);
  const exported = Object.values(manifest.exports).flatMap((target) =>
    typeof target === 'string' ? [target] : Object.values(target).flatMap((condition) => Object.values(condition)),
  );
  const wanted = [
    'LICENSE',
    'README.md',
    'package.json',
    'binding.gyp',
    'CMakeLists.txt',
    'scripts/build-native.mjs',
    'bench/peers/open-mpi.c',
    ...['worker-start.js', 'worker-bundle.js', 'worker-bundle.js.map'].map((name) => `lib/cluster/${name}`),
    ...['report.js', 'report.css', 'uPlot.iife.min.js', 'uPlot.min.css', 'uPlot.LICENSE'].map(
      (name) => `lib/bench/page/${name}`,
    ),
    prebuild,
    ...native,
    ...Object.values(manifest.bin),
    ...exported.map((target) => target.replace(/^\.\//, '')),
  ];
  const missing = wanted.filter((name) => !has.has(name));
  const welcome =
    /^(lib|docs|src\/native|prebuilds|bench\/peers)\/|^(LICENSE|README\.md|package\.json|binding\.gyp|CMakeLists\.txt)$/;
  const strange = files.filter(
    (name) =>
      (!welcome.test(name) && name !== 'scripts/build-native.mjs') ||
      /(^|\/)(tests?|node_modules|obj)\/|\.(o|tsbuildinfo|tmp)$|(^|[^d])\.ts$/.test(name.replace(/\.d\.m?ts$/, '')),
  );
  if (missing.length > 0) throw new CheckError(`not in the tarball: ${missing.join(', ')}`);
  if (strange.length > 0) throw new CheckError(`does not belong in the tarball: ${strange.join(', ')}`);
}

/** Loads every exported subpath both ways in an empty project, type-checks it, and runs the command. */
function checkInstalled(directory, tarball) {
  fs.writeFileSync(path.join(directory, 'package.json'), JSON.stringify({ name: 'consumer', private: true }));
  const options = ['--omit=optional', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  run('npm', ['install', ...options, tarball], directory);
  const names = Object.entries(manifest.exports)
    .filter(([, target]) => typeof target === 'object')
    .map(([subpath]) => path.posix.join(manifest.name, subpath));
  const list = JSON.stringify(names);
  fs.writeFileSync(
    path.join(directory, 'require.cjs'),
    `const fs = require('node:fs');
     const found = Object.fromEntries(${list}.map((name) => [name, Object.keys(require(name)).sort()]));
     fs.writeFileSync('require.json', JSON.stringify(found));
     process.exit(0);`,
  );
  fs.writeFileSync(
    path.join(directory, 'import.mjs'),
    `import fs from 'node:fs';
     const found = {};
     for (const name of ${list}) found[name] = Object.keys(await import(name)).sort();
     fs.writeFileSync('import.json', JSON.stringify(found));
     process.exit(0);`,
  );
  node(['require.cjs'], directory);
  node(['import.mjs'], directory);
  const [required, imported] = ['require.json', 'import.json'].map((file) =>
    JSON.parse(fs.readFileSync(path.join(directory, file), 'utf8')),
  );
  for (const name of names) {
    if (required[name].length === 0) throw new CheckError(`${name} exports nothing`);
    if (required[name].join() !== imported[name].join()) {
      throw new CheckError(`${name}: require gives ${required[name]}; import gives ${imported[name]}`);
    }
    say(`  ${name}: ${required[name].length} names by require and by import`);
  }

  const uses = names.map((name, i) => `import * as m${i} from '${name}';\nexport { m${i} };\n`).join('');
  for (const file of ['types.cts', 'types.mts']) fs.writeFileSync(path.join(directory, file), uses);
  const types = ['--types', 'node', '--typeRoots', path.join(root, 'node_modules/@types')];
  const strict = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022'];
  const lib = ['--lib', 'es2023,esnext.disposable'];
  tool('tsc', [...strict, ...lib, ...types, 'types.cts', 'types.mts'], directory);
  say('  its declarations compile by themselves, as CommonJS and as ES module');

  const loaded = node(
    ['-p', `require('node-gyp-build').resolve(${JSON.stringify(path.join(directory, 'node_modules', manifest.name))})`],
    directory,
  ).trim();
  if (!loaded.endsWith(prebuild)) throw new CheckError(`the installed package would load ${loaded}`);
  // A worker process runs from the bundle, which nothing above loads.
  fs.writeFileSync(
    path.join(directory, 'pipeline.mjs'),
    `import { fileURLToPath } from 'node:url';
     import { LocalPipeline, workflow } from '${manifest.name}';
     const module = fileURLToPath(import.meta.url);
     export const echo = workflow('echo', { module }).stage('echo', { handler: (task) => task.input('request') });
     if (process.send === undefined) {
       const pipeline = await LocalPipeline.start(echo);
       const { outputs } = await pipeline.run({ meta: { word: 'echoed' } });
       await pipeline.close();
       console.log(outputs[0].meta.word);
     }`,
  );
  const echoed = node(['pipeline.mjs'], directory, { XDG_CACHE_HOME: directory }).trim();
  if (echoed !== 'echoed') throw new CheckError(`a pipeline of the installed package answers "${echoed}"`);
  say('  a pipeline of one process answers');
  const version = run('npx', ['--no-install', 'onepiece', '--version'], directory).trim();
  if (version !== manifest.version)
    throw new CheckError(`onepiece --version says "${version}", not ${manifest.version}`);
  say(`  npx onepiece --version: ${version}`);
}

function main(scratch) {
  const copy = path.join(scratch, 'copy');
  const consumer = path.join(scratch, 'consumer');
  for (const directory of [copy, consumer]) fs.mkdirSync(directory);

  node([path.join(root, 'scripts/build-native.mjs')], root);
  node([path.join(root, 'scripts/build-ts.mjs')], root);
  stage(copy);
  makePrebuild(copy);
  say(`made ${prebuild} (${(fs.statSync(path.join(copy, prebuild)).size / 1024).toFixed(0)} KiB)`);

  // Without scripts: `prepare` would build once more what has just been copied.
  const packed = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', scratch], copy);
  const [{ filename, files, size }] = Object.values(JSON.parse(packed));
  const tarball = path.join(scratch, filename);
  checkContent(files.map((file) => file.path));
  say(`${filename}: ${files.length} files, ${(size / 1024).toFixed(0)} KiB, nothing missing, nothing strange`);

  // node16: every Node.js that the package supports reads "exports"; the older resolution has no subpaths to offer.
  tool('attw', [tarball, '--profile', 'node16', '--no-definitely-typed', '--no-color', '--format', 'ascii'], scratch);
  say('attw: no problems');
  tool('publint', ['run', tarball, '--strict'], scratch);
  say('publint: no problems');

  checkInstalled(consumer, tarball);
  say('ok');
}

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'onepiece-package-'));
const clean = () => fs.rmSync(scratch, { recursive: true, force: true });
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
process.once('exit', clean);
try {
  main(scratch);
} catch (error) {
  console.error(`package: ${error instanceof CheckError ? error.message : error.stack}`);
  process.exitCode = 1;
}
