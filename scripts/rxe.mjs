// Runs a command inside a guest kernel with soft-RoCE: `npm run rxe -- COMMAND`.
// Invariant: nothing of the runner itself goes to stdout, its exit code is the command's or one of its own documented
// ones, and no process or file of a run outlives it.

import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { EXIT, Failure, Interrupted, cannotRun } from './rxe/failure.mjs';
import { runGuest } from './rxe/guest.mjs';
import { cachedImage, ensureImage, removeOld, requireWritableCache } from './rxe/image.mjs';
import { HELP, parseOptions } from './rxe/options.mjs';
import {
  HEADERS,
  ensurePackages,
  findKernel,
  installLine,
  isRoot,
  missingPackages,
  requireDistribution,
} from './rxe/packages.mjs';
import { runProgram } from './rxe/program.mjs';
import { guestEnvironment } from './rxe/request.mjs';
import { findShares } from './rxe/shares.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

const say = (text) => process.stderr.write(`rxe: ${text}\n`);
const progress = (text) => {
  if (process.stderr.isTTY) say(text);
};

/** The directory as the guest sees it: a symbolic link in it could lead elsewhere there. */
function workingDirectory() {
  try {
    return realpathSync(process.cwd());
  } catch {
    throw cannotRun('the current directory does not exist any more; change to one that does');
  }
}

async function check(stop) {
  const kernel = requireDistribution();
  const missing = await missingPackages(stop);
  if (missing.length > 0 && !isRoot()) {
    throw cannotRun(`missing packages: ${missing.join(' ')}; as root: ${installLine(missing)}`);
  }
  if (cachedImage() !== undefined) return;
  requireWritableCache();
  if ((await findKernel(kernel, stop)) === undefined && !isRoot()) {
    throw cannotRun(`apt does not know the package ${kernel.meta}; as root: apt-get update`);
  }
}

/**
 * The packages, and the addon again when the headers of libibverbs are among those that came: one that was built
 * without them knows no verbs devices. What goes wrong in that is said by the builder, and then by the command.
 */
async function prepareMachine(stop) {
  const missing = await missingPackages(stop);
  await ensurePackages(stop, progress);
  const built =
    HEADERS.some((name) => missing.includes(name)) && existsSync(path.join(root, 'node_modules/node-api-headers'));
  if (built) await runProgram([process.execPath, path.join(root, 'scripts/build-native.mjs')], { stop, cwd: root });
}

async function run(options, stop) {
  const cwd = workingDirectory();
  const shares = findShares(options.shares, options.command, cwd);
  requireDistribution();
  await prepareMachine(stop);
  removeOld();
  const image = await ensureImage({ stop, progress });
  progress(`booting guest kernel ${image.name}`);
  const env = guestEnvironment(process.env, options.env, cwd);
  return await runGuest({ ...options, image, env, cwd, shares, stop });
}

async function main(words, stop) {
  const options = parseOptions(words);
  if (options.action === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  if (options.action === 'check') {
    await check(stop);
    return 0;
  }
  if (options.action === 'prepare') {
    requireDistribution();
    await prepareMachine(stop);
    removeOld();
    await ensureImage({ stop, progress, newest: true });
    return 0;
  }
  return await run(options, stop);
}

const interruption = new AbortController();
const interrupt = (signal) => interruption.abort(new Interrupted(signal));
for (const signal of SIGNALS) process.on(signal, interrupt);

let exitCode;
try {
  exitCode = await main(process.argv.slice(2), interruption.signal);
} catch (error) {
  if (error instanceof Failure) {
    if (error.exitCode !== EXIT.brokenPipe) say(error.message);
    exitCode = error.exitCode;
  } else if (error instanceof Interrupted) {
    for (const signal of SIGNALS) process.off(signal, interrupt);
    process.kill(process.pid, error.signal);
  } else {
    throw error;
  }
}
// Not left to the end of the event loop, which a reader that never reads would hold up.
if (exitCode !== undefined) process.exit(exitCode);
