// How the check of the package runs other programs.
//
// Invariant: every command is bounded in time, and a failed one is thrown with everything that it printed.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** What does not hold about the package. */
export class CheckError extends Error {}

export const say = (text) => console.log(`package: ${text}`);

/** Runs a command; answers {status, signal, stdout, stderr}, however it ended. */
export function attempt(command, args, cwd, env = {}) {
  return spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    timeout: 400_000,
  });
}

/** Runs a command; answers its stdout, or throws everything that it printed. */
export function run(command, args, cwd, env = {}) {
  const result = attempt(command, args, cwd, env);
  if (result.status === 0) return result.stdout;
  const why = result.error?.message ?? result.signal ?? `exit ${result.status}`;
  throw new CheckError(`${command} ${args.join(' ')} (${why}):\n${result.stdout}${result.stderr}`);
}

/** The programs that a build of native code needs, by the names that they have on Debian. */
const COMPILERS = /^(.*-)?(gcc|g\+\+|cc|c\+\+|c89|c99|clang|clang\+\+|cpp)(-[\d.]+)?$/;
const BUILDERS = /^(g?make|cmake|ninja|node-gyp|python[\d.]*|pypy[\d.]*)$/;

/**
 * A PATH with all programs of this one but those of that name.
 *
 * @param directory an empty one, which becomes the PATH
 * @param isLeftOut tells which names are left out
 */
function pathWithout(directory, isLeftOut) {
  fs.mkdirSync(directory);
  for (const folder of process.env.PATH.split(':').filter((name) => name !== '' && fs.existsSync(name))) {
    for (const name of fs.readdirSync(folder)) {
      const link = path.join(directory, name);
      if (!isLeftOut(name) && !fs.existsSync(link)) fs.symlinkSync(path.join(folder, name), link);
    }
  }
  return directory;
}

/** A PATH with a compiler and nothing else that builds: no Python, no make. */
export const pathWithoutBuilders = (directory) => pathWithout(directory, (name) => BUILDERS.test(name));

/** A PATH without anything that builds. */
export const pathWithoutCompilers = (directory) =>
  pathWithout(directory, (name) => BUILDERS.test(name) || COMPILERS.test(name));
