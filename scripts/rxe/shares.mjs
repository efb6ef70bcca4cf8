// The directories the guest may write to.
// Invariant: each is an existing real path (no symbolic link in it), none is inside another, and none is the root or
// a kernel file system; everything else of this machine stays read-only to the guest.

import { realpathSync, statSync } from 'node:fs';
import path from 'node:path';

import { usageError } from './failure.mjs';

const OUTPUT_OPTIONS = ['--output', '-o', '--report'];
const KERNEL_ROOTS = ['/proc', '/sys', '/dev'];
/** A command can name many outputs; each share is a device of the guest. */
const SHARE_LIMIT = 16;

/**
 * @param {string[]} explicit values of --share
 * @param {string[]} command
 * @param {string} cwd
 * @returns {string[]}
 */
export function findShares(explicit, command, cwd) {
  const found = new Set();
  for (const directory of explicit) found.add(explicitShare(directory, cwd));
  for (const value of outputValues(command)) {
    for (const directory of outputShares(value, cwd)) found.add(directory);
  }
  const outermost = [...found].filter((one) => ![...found].some((other) => isInside(one, other)));
  if (outermost.length > SHARE_LIMIT) {
    throw usageError(`${outermost.length} shared directories are too many (at most ${SHARE_LIMIT}); share a parent`);
  }
  return outermost.sort();
}

function isInside(one, other) {
  return one !== other && one.startsWith(`${other}/`);
}

function explicitShare(directory, cwd) {
  const real = realDirectory(path.resolve(cwd, directory));
  if (real === undefined) throw usageError(`--share ${directory}: no such directory; create it first`);
  refuseSystem(real, `--share ${directory}`);
  return real;
}

/** The values of the options of COMMAND that name a result. @param {string[]} command */
function outputValues(command) {
  const values = [];
  for (let index = 1; index < command.length; index += 1) {
    const word = command[index];
    const equals = word.indexOf('=');
    if (OUTPUT_OPTIONS.includes(word) && index + 1 < command.length) values.push(command[index + 1]);
    else if (word.startsWith('--') && OUTPUT_OPTIONS.includes(word.slice(0, equals)))
      values.push(word.slice(equals + 1));
  }
  return values.filter((value) => value !== '' && !value.startsWith('-'));
}

/** The directories to share so that the result lands here: none when the parent is missing, as COMMAND reports that. */
function outputShares(value, cwd) {
  const file = path.resolve(cwd, value);
  const shares = [];
  for (const target of [file, realFile(file)]) {
    const real = target === undefined ? undefined : realDirectory(path.dirname(target));
    if (real === undefined || isKernelPath(real)) continue;
    refuseSystem(real, `the result ${value}`);
    shares.push(real);
  }
  return shares;
}

/** /dev/stdout and the like are the guest's own; /dev/shm is an ordinary place for files. */
function isKernelPath(directory) {
  if (directory === '/dev/shm' || directory.startsWith('/dev/shm/')) return false;
  return KERNEL_ROOTS.some((root) => directory === root || directory.startsWith(`${root}/`));
}

function refuseSystem(real, what) {
  if (real === '/') throw usageError(`${what} would make all of this machine writable; use a directory below /`);
  if (isKernelPath(real))
    throw usageError(`${what} is in ${real}, which the guest has of its own; use another directory`);
}

function realDirectory(directory) {
  try {
    const real = realpathSync(directory);
    return statSync(real).isDirectory() ? real : undefined;
  } catch {
    return undefined;
  }
}

function realFile(file) {
  try {
    return realpathSync(file);
  } catch {
    return undefined;
  }
}
