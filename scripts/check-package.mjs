// `npm run check:package`: what a user of the registry would get, packed, inspected, installed as people do, and run.
//
// Invariant: the checkout is only read (and brought up to date in build/, lib/ and prebuilds/); every temporary
// directory is gone afterwards. Needs a C++ compiler, git, and the npm registry for dependencies and tools.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { readFloor } from './glibc-floor.mjs';
import { prebuildFolder } from './native-inputs.mjs';
import { CheckError, run, say } from './package/commands.mjs';
import { checkCommand, checkExports, checkTypes } from './package/consumer.mjs';
import { Installs } from './package/installs.mjs';
import { root } from './package/manifest.mjs';
import { checkContent, pack, stage } from './package/tarball.mjs';
import { bringTools } from './package/tools.mjs';

const tool = (name, args, cwd) => run(path.join(root, 'node_modules/.bin', name), args, cwd);

/** Brings the prebuilt addon up to date; answers its files, relative to the root. */
function makePrebuild() {
  run(process.execPath, [path.join(root, 'scripts/prebuild.mjs')], root);
  const files = fs.readdirSync(path.join(root, prebuildFolder)).map((name) => `${prebuildFolder}/${name}`);
  const addons = files.filter((name) => name.endsWith('.node'));
  if (addons.length !== 1) throw new CheckError(`not one addon in ${prebuildFolder}: ${files.join(', ')}`);
  const { newest, beyond } = readFloor(path.join(root, addons[0]));
  if (beyond.length > 0) throw new CheckError(`${addons[0]} would not load everywhere: it needs ${beyond.join(', ')}`);
  const needs = Object.entries(newest).map((entry) => entry.join('_'));
  say(`${addons[0]} needs ${needs.join(', ')}`);
  return files;
}

function main(scratch) {
  const started = performance.now();
  const directory = (name) => {
    const made = path.join(scratch, name);
    fs.mkdirSync(made);
    return made;
  };
  const prebuild = makePrebuild();
  run(process.execPath, [path.join(root, 'scripts/build-ts.mjs')], root);
  const copy = directory('copy');
  stage(copy);

  const packed = pack(copy, scratch);
  checkContent(packed.files, prebuild);
  const { tarball, files, size } = packed;
  say(
    `${path.basename(tarball)}: ${files.length} files, ${(size / 1024).toFixed(0)} KiB, nothing missing, nothing strange`,
  );
  // node16: every Node.js that the package supports reads "exports"; the older resolution has no subpaths to offer.
  tool('attw', [tarball, '--profile', 'node16', '--no-definitely-typed', '--no-color', '--format', 'ascii'], scratch);
  say('attw: no problems');
  tool('publint', ['run', tarball, '--strict'], scratch);
  say('publint: no problems');

  const installs = new Installs(directory('projects'), packed, bringTools(directory('tools')));
  const timed = (words, step) => {
    const before = performance.now();
    say(words);
    const result = step();
    say(`${words}: ${((performance.now() - before) / 1000).toFixed(0)} s`);
    return result;
  };
  const project = timed('npm', () => installs.npm());
  timed('what is installed', () => {
    checkExports(project);
    checkTypes(project);
    checkCommand(project);
  });
  timed('runtimes', () => installs.runtimes(project));
  timed('pnpm', () => installs.pnpm());
  timed('yarn 1', () => installs.yarn1());
  timed('yarn 4', () => installs.yarn4());
  timed('from source', () => installs.build(project));
  timed('git', () => installs.git(copy));
  say(`ok (${((performance.now() - started) / 1000).toFixed(0)} s)`);
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
