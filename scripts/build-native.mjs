// Builds build/Release/onepiece.node with nothing but Node.js and a C++ compiler: no Python, no make, no CMake.
//
// Invariant: the addon is replaced by one rename, and only by an addon whose compiler, flags, system headers, own
// headers and sources are exactly those at hand. What is up to date by content is never compiled again.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import {
  addonApiInclude,
  BuildError,
  hash,
  nodeApiInclude,
  prebuildStamp,
  readFile,
  readFlags,
  readHeaders,
  readSources,
  root,
  sourcesHash,
} from './native-inputs.mjs';

const usage = `Usage: node scripts/build-native.mjs [options]

  --debug                     -O0 -g, into build-debug/Release
  --sanitize=LIST             compile with -fsanitize=LIST (address,undefined or thread), into build-asan/Release
  --lto                       link-time optimisation
  --help                      this text

The compiler is $CXX, else the first of c++, g++, clang++ that runs. $CXXFLAGS and $LDFLAGS are appended.
To run with an addon outside build/: ONEPIECE_RDMA_PREBUILD=$PWD/build-asan \\
  LD_PRELOAD=$(gcc -print-file-name=libasan.so) node ...
`;

/** The first compiler that runs: {command, args, identity}; undefined when there is none. */
function findCompiler() {
  const chosen = process.env.CXX?.trim();
  for (const candidate of chosen ? [chosen] : ['c++', 'g++', 'clang++']) {
    const [command, ...args] = candidate.split(/\s+/);
    const probe = spawnSync(command, [...args, '--version'], { encoding: 'utf8' });
    if (probe.status !== 0) continue;
    const target = spawnSync(command, [...args, '-dumpmachine'], { encoding: 'utf8' });
    return { command, args, identity: [candidate, probe.stdout, target.stdout].join('\n') };
  }
  return undefined;
}

/** The prebuilt addon for this platform, if prebuilds/ has one of these very sources that this node really loads. */
function findPrebuild() {
  const stamp = path.join(root, prebuildStamp);
  if (!fs.existsSync(stamp) || fs.readFileSync(stamp, 'utf8').trim() !== sourcesHash()) return undefined;
  const script = `process.stdout.write(require('node-gyp-build').resolve(${JSON.stringify(root)}));
    require('node-gyp-build')(${JSON.stringify(root)});`;
  const env = { ...process.env, PREBUILDS_ONLY: '1', ONEPIECE_RDMA_PREBUILD: '' };
  const probe = spawnSync(process.execPath, ['-e', script], { cwd: root, env, encoding: 'utf8' });
  return probe.status === 0 ? path.relative(root, probe.stdout) : undefined;
}

/** Runs the compiler; settles with what it printed, rejects with it when it fails. */
function run(compiler, args, input) {
  return new Promise((resolve, reject) => {
    const child = spawn(compiler.command, [...compiler.args, ...args], { cwd: root, stdio: ['pipe', 'pipe', 'pipe'] });
    const out = [];
    const err = [];
    child.stdout.on('data', (chunk) => out.push(chunk));
    child.stderr.on('data', (chunk) => err.push(chunk));
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const stderr = Buffer.concat(err).toString();
      if (code === 0) return resolve({ stdout: Buffer.concat(out), stderr });
      const why = signal ? `was ended by ${signal}` : `exited with ${code}`;
      reject(new BuildError(`${stderr}${compiler.command} ${why}: ${args.join(' ')}`));
    });
  });
}

/**
 * A hash of everything outside src/native that the sources include. A header that appears or disappears changes it as
 * much as one that changes, so installing libibverbs-dev rebuilds what __has_include decides.
 */
async function systemFingerprint(compiler, flags, files) {
  const names = new Set();
  for (const file of files) {
    const text = readFile(file).toString();
    for (const [, name] of text.matchAll(/^\s*#\s*include\s*<([^>]+)>/gm)) names.add(name);
    for (const [, name] of text.matchAll(/__has_include\s*\(\s*<([^>]+)>/g)) names.add(name);
  }
  const probe = [...names].sort().map((name) => `#if __has_include(<${name}>)\n#include <${name}>\n#endif\n`);
  const { stdout } = await run(compiler, [...flags, '-E', '-P', '-x', 'c++', '-'], probe.join(''));
  return hash(stdout);
}

/** Runs the jobs, at most `width` at a time; after the first failure starts no more and rejects with it. */
async function inParallel(jobs, width) {
  const queue = [...jobs];
  let failure;
  const worker = async () => {
    while (queue.length > 0 && !failure) {
      try {
        await queue.shift()();
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  if (failure) throw failure;
}

async function build(options) {
  const started = performance.now();
  const compiler = findCompiler();
  if (!compiler) {
    // What is in build/ would be loaded instead of it, whatever it was made of.
    const isHidden = fs.existsSync(path.join(root, options.directory, 'Release/onepiece.node'));
    const prebuild = options.plain && !isHidden ? findPrebuild() : undefined;
    if (prebuild) {
      console.log(`native: no C++ compiler here; the prebuilt ${prebuild} fits this machine and will be used.`);
      return;
    }
    const what = process.env.CXX ? `CXX=${process.env.CXX} cannot be run` : 'no C++ compiler (c++, g++, clang++) found';
    const why = isHidden ? `what is in ${options.directory}/ may be old` : 'prebuilds/ has no addon that fits';
    throw new BuildError(`${what}, and ${why}.\n  Remedy: apt-get install g++`);
  }

  const outDir = path.join(root, options.directory);
  const objDir = path.join(outDir, 'obj');
  const target = path.join(outDir, 'Release/onepiece.node');
  const sources = readSources();
  const headers = readHeaders();
  const missing = sources.filter((source) => !fs.existsSync(path.join(root, source)));
  if (missing.length > 0)
    throw new BuildError(`src/native/sources.txt names what does not exist: ${missing.join(', ')}`);

  const extra = (name) => process.env[name]?.split(/\s+/).filter(Boolean) ?? [];
  const sanitize = options.sanitize ? [`-fsanitize=${options.sanitize}`] : [];
  const mode = [
    ...(options.debug ? ['-O0', '-g'] : readFlags('optimize')),
    ...(sanitize.length ? ['-g', '-fno-omit-frame-pointer', '-fno-sanitize-recover=undefined', ...sanitize] : []),
    ...(options.lto ? ['-flto'] : []),
  ];
  const flags = [
    ...readFlags('compile'),
    ...readFlags('define').map((macro) => `-D${macro}`),
    '-isystem',
    addonApiInclude(),
    '-isystem',
    nodeApiInclude(),
    ...mode,
    ...extra('CXXFLAGS'),
  ];
  const runtime = sanitize.length ? [] : readFlags('runtime');
  const linkFlags = ['-shared', ...mode, ...runtime, ...extra('LDFLAGS'), ...readFlags('link')];

  const headerParts = headers.flatMap((header) => [header, readFile(header)]);
  const system = await systemFingerprint(compiler, flags, [...headers, ...sources]);
  const base = hash(compiler.identity, flags.join('\0'), system, ...headerParts);
  const objects = sources.map((source) => {
    const key = hash(base, source, readFile(source)).slice(0, 24);
    const name = `${source.replace(/^src\/native\//, '').replaceAll('/', '__')}-${key}.o`;
    return { source, name, file: path.join(objDir, name) };
  });

  fs.mkdirSync(objDir, { recursive: true });
  fs.mkdirSync(path.dirname(target), { recursive: true });
  const stale = objects.filter((object) => !fs.existsSync(object.file));
  const jobs = stale.map((object) => async () => {
    const scratch = `${object.file}.${process.pid}.tmp`;
    try {
      const { stderr } = await run(compiler, [...flags, '-c', object.source, '-o', scratch]);
      if (stderr) process.stderr.write(stderr);
      fs.renameSync(scratch, object.file);
    } finally {
      fs.rmSync(scratch, { force: true });
    }
  });
  await inParallel(jobs, os.availableParallelism());

  const stamp = path.join(objDir, 'onepiece.node.stamp');
  const linkKey = hash(compiler.identity, linkFlags.join('\0'), ...objects.map((object) => object.name));
  const stampOf = () => `${linkKey} ${hash(fs.readFileSync(target))}\n`;
  const upToDate = fs.existsSync(target) && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === stampOf();
  if (!upToDate) {
    const scratch = `${target}.${process.pid}.tmp`;
    try {
      const files = objects.map((object) => path.relative(root, object.file));
      await run(compiler, [...files, ...linkFlags, '-o', scratch]);
      fs.renameSync(scratch, target);
      fs.writeFileSync(stamp, stampOf());
    } finally {
      fs.rmSync(scratch, { force: true });
    }
  }
  // node-gyp-build looks for <ONEPIECE_RDMA_PREBUILD>/build/Release.
  const alias = path.join(outDir, 'build');
  if (!options.plain && !fs.existsSync(alias)) fs.symlinkSync('.', alias);

  // What another run may be about to link is left alone: only objects that nobody has wanted for a while go.
  const wanted = new Set(objects.map((object) => object.name));
  const old = Date.now() - 10 * 60_000;
  for (const name of fs.readdirSync(objDir)) {
    const file = path.join(objDir, name);
    if (!wanted.has(name) && name.endsWith('.o') && fs.statSync(file).mtimeMs < old) fs.rmSync(file, { force: true });
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const did = upToDate ? 'is up to date' : `built, ${stale.length} of ${sources.length} sources compiled`;
  console.log(`native: ${path.relative(root, target)} ${did} (${seconds} s, ${compiler.command})`);
}

async function main() {
  const { values } = parseArgs({
    options: {
      debug: { type: 'boolean', default: false },
      sanitize: { type: 'string' },
      lto: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  if (values.sanitize !== undefined && !/^[a-z]+(,[a-z]+)*$/.test(values.sanitize)) {
    throw new BuildError(`--sanitize takes a list such as address,undefined, not "${values.sanitize}"`);
  }
  const plain = !values.debug && !values.sanitize;
  await build({ ...values, plain, directory: plain ? 'build' : values.sanitize ? 'build-asan' : 'build-debug' });
}

main().catch((error) => {
  const known = error instanceof BuildError || error.code?.startsWith('ERR_PARSE_ARGS');
  console.error(`native: ${known ? error.message : error.stack}`);
  process.exitCode = 1;
});
