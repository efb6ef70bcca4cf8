// `npm run sanitize`: the verbs suites on soft0 with an addon that AddressSanitizer and UndefinedBehaviorSanitizer
// watch.
//
// Invariant: it passes only if the watched addon was the one that ran, every file passed, and no process, however it
// ended, wrote a report. Leaks are not looked for here: the garbage collector's heap hides what is still reachable, and
// test/verbs/leaks.device.test.ts looks at what stays behind instead.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const addon = path.join(root, 'build-asan');
/** Parts of paths below build-test/test. */
const suites = [
  'verbs/conformance',
  'verbs/garbage',
  'verbs/lifecycle',
  'verbs/memory',
  'verbs/operations',
  'verbs/resource',
];
const limitMs = 900_000;

const usage = `Usage: npm run sanitize -- [options]

Builds the addon with -fsanitize=address,undefined into build-asan/, and runs with it, on soft0:
  ${suites.join(' ')}

  --no-ts          build the addon only: lib/ and build-test/ are up to date
  --no-build       run what is in build-asan/, lib/ and build-test/ as it is
  --filter TEXT    only this part of a path instead (repeatable)
  --help           this text
`;

const options = {
  'no-ts': { type: 'boolean', default: false },
  'no-build': { type: 'boolean', default: false },
  filter: { type: 'string', multiple: true },
  help: { type: 'boolean', default: false },
};

class Failure extends Error {}

function node(args, env = process.env) {
  const { status, signal, error } = spawnSync(process.execPath, args, {
    cwd: root,
    env,
    stdio: 'inherit',
    timeout: limitMs,
  });
  if (error) throw error;
  return signal ?? status;
}

function build(withTypeScript) {
  const typeScript = [['scripts/build-ts.mjs'], ['scripts/build-ts.mjs', '--test']];
  for (const args of [
    ['scripts/build-native.mjs', '--sanitize=address,undefined'],
    ...(withTypeScript ? typeScript : []),
  ]) {
    if (node(args) !== 0) throw new Failure(`${args.join(' ')} failed`);
  }
}

/** The sanitizers' own libraries: they have to be loaded before everything else. */
function runtimes() {
  const compiler = process.env.CXX?.trim() || 'c++';
  return ['libasan.so', 'libubsan.so'].map((name) => {
    const { stdout = '' } = spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' });
    const file = stdout.trim();
    if (!path.isAbsolute(file)) throw new Failure(`${compiler} has no ${name}: apt-get install g++`);
    return file;
  });
}

/** Fails unless a process with this environment loads the watched addon. */
function proveWatched(env) {
  const script = `require('./lib/verbs').listDevices();
    const maps = require('fs').readFileSync('/proc/self/maps', 'utf8');
    for (const part of ['/libasan.so', ${JSON.stringify(path.join(addon, 'Release/onepiece.node'))}])
      if (!maps.includes(part)) throw new Error(part + ' is not loaded');`;
  if (node(['-e', script], env) !== 0) throw new Failure('the addon in build-asan/ is not the one that is loaded');
}

function run(values) {
  if (!values['no-build']) build(!values['no-ts']);
  const reports = fs.mkdtempSync(path.join(os.tmpdir(), 'onepiece-sanitize-'));
  try {
    const common = `log_path=${reports}/report:halt_on_error=1`;
    const env = {
      ...process.env,
      ONEPIECE_RDMA_PREBUILD: addon,
      LD_PRELOAD: runtimes().join(' '),
      // What is asked for without sense has to be refused, as without the sanitizer.
      ASAN_OPTIONS: `${common}:detect_leaks=0:allocator_may_return_null=1`,
      UBSAN_OPTIONS: `${common}:print_stacktrace=1`,
    };
    proveWatched(env);
    const failed = (values.filter ?? suites).filter(
      (suite) => node(['scripts/test.mjs', '--no-build', '--no-rxe', '--filter', suite], env) !== 0,
    );
    const written = fs.readdirSync(reports);
    for (const name of written) process.stdout.write(fs.readFileSync(path.join(reports, name), 'utf8'));
    if (written.length > 0) throw new Failure(`${written.length} reports`);
    if (failed.length > 0) throw new Failure(`failed: ${failed.join(', ')}`);
    console.log('sanitize: no report');
  } finally {
    fs.rmSync(reports, { recursive: true, force: true });
  }
}

try {
  const { values } = parseArgs({ options });
  if (values.help) process.stdout.write(usage);
  else run(values);
} catch (error) {
  const isUsage = error.code?.startsWith('ERR_PARSE_ARGS');
  if (!(error instanceof Failure) && !isUsage) throw error;
  console.error(`sanitize: ${error.message}`);
  process.exitCode = isUsage ? 2 : 1;
}
