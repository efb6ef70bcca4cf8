// A project that uses the package, and what has to hold in it once the package is installed.
//
// Invariant: each check fails with words that say what was seen; none changes what is installed.
import fs from 'node:fs';
import path from 'node:path';
import { attempt, CheckError, run, say } from './commands.mjs';
import { manifest, root } from './manifest.mjs';

const names = Object.entries(manifest.exports)
  .filter(([, target]) => typeof target === 'object')
  .map(([subpath]) => path.posix.join(manifest.name, subpath));
const list = JSON.stringify(names);

const programs = {
  'require.cjs': `
    const fs = require('node:fs');
    const found = Object.fromEntries(${list}.map((name) => [name, Object.keys(require(name)).sort()]));
    fs.writeFileSync('require.json', JSON.stringify(found));
    process.exit(0);`,
  'import.mjs': `
    import fs from 'node:fs';
    const found = {};
    for (const name of ${list}) found[name] = Object.keys(await import(name)).sort();
    fs.writeFileSync('import.json', JSON.stringify(found));
    process.exit(0);`,
  // A worker process runs from the bundle, which nothing else loads.
  'pipeline.mjs': `
    import { LocalPipeline, workflow } from '${manifest.name}';
    const module = import.meta.url;
    export const echo = workflow('echo', { module }).stage('echo', { handler: (task) => task.input('request') });
    if (process.send === undefined) {
      const pipeline = await LocalPipeline.start(echo);
      const { outputs } = await pipeline.run({ meta: { word: process.version } });
      await pipeline.close();
      console.log('echoed', outputs[0].meta.word);
    }`,
  'open.cjs': `
    const device = require('${manifest.name}/verbs').Device.open('soft0');
    console.log(device.name);
    device.close();`,
};

/** Makes an empty project with the programs of the checks. */
export function makeProject(directory, settings = {}) {
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(
    path.join(directory, 'package.json'),
    JSON.stringify({ name: 'consumer', private: true, ...settings }),
  );
  for (const [name, text] of Object.entries(programs)) fs.writeFileSync(path.join(directory, name), text);
  return directory;
}

/** Every exported subpath gives the same names to `require` and to `import`. */
export function checkExports(directory) {
  run(process.execPath, ['require.cjs'], directory);
  run(process.execPath, ['import.mjs'], directory);
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
}

/** The declarations compile by themselves, as CommonJS and as ES module. */
export function checkTypes(directory) {
  const uses = names.map((name, i) => `import * as m${i} from '${name}';\nexport { m${i} };\n`).join('');
  for (const file of ['types.cts', 'types.mts']) fs.writeFileSync(path.join(directory, file), uses);
  const types = ['--types', 'node', '--typeRoots', path.join(root, 'node_modules/@types')];
  const strict = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022'];
  const lib = ['--lib', 'es2023,esnext.disposable'];
  const tsc = path.join(root, 'node_modules/.bin/tsc');
  run(tsc, [...strict, ...lib, ...types, 'types.cts', 'types.mts'], directory);
  say('  its declarations compile by themselves, as CommonJS and as ES module');
}

/** The command of the package is there, and is of this version. */
export function checkCommand(directory) {
  const version = run('npx', ['--no-install', 'onepiece', '--version'], directory).trim();
  if (version !== manifest.version) {
    throw new CheckError(`onepiece --version says "${version}", not ${manifest.version}`);
  }
  say(`  npx onepiece --version: ${version}`);
  run('npx', ['--no-install', 'onepiece', 'bench', 'ring-lat', '--iterations', '5'], directory);
  const compared = attempt('npx', ['--no-install', 'onepiece', 'bench', 'ring-lat', '--compare', 'unix'], directory);
  if (compared.status !== 2 || !compared.stderr.includes('needs a checkout')) {
    throw new CheckError(`onepiece bench --compare unix ended with ${compared.status}: ${compared.stderr}`);
  }
  say('  npx onepiece bench: measures ours, and says that peers need a checkout');
}

/** A pipeline with a process of its own answers, in this Node.js; `options` come before the program. */
export function checkWorks(directory, node = process.execPath, options = []) {
  const version = run(node, ['-p', 'process.version'], directory).trim();
  const echoed = run(node, [...options, 'pipeline.mjs'], directory, { XDG_CACHE_HOME: directory }).trim();
  if (echoed !== `echoed ${version}`) throw new CheckError(`a pipeline in Node.js ${version} answers "${echoed}"`);
}

/** Another runtime is refused in words, and does not die. */
export function checkRefused(directory, name, [command, ...options]) {
  const { status, signal, stdout, stderr } = attempt(command, [...options, 'open.cjs'], directory);
  if (signal === null && status === 1 && /RDMA_ERR_NOT_SUPPORTED.*Node\.js/.test(stderr)) return;
  throw new CheckError(`${name} ended with ${signal ?? status} instead of a refusal:\n${stdout}${stderr}`);
}

/** Opening the soft device fails; answers the words. */
export function failure(directory) {
  const { status, stdout, stderr } = attempt(process.execPath, ['open.cjs'], directory);
  if (status === 0) throw new CheckError(`${directory} opens ${stdout} where it should not`);
  return stderr;
}

/** The files of the installed package, without those of its dependencies. */
export function installedFiles(directory) {
  const folder = path.join(directory, 'node_modules', manifest.name);
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !path.relative(folder, entry.parentPath).split('/').includes('node_modules'))
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();
}
