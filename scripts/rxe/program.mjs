// Helper programs (apt-get, dpkg-deb, depmod, ...).
// Invariant: no helper outlives the runner, except the package manager, which must not be cut in half; nothing a
// helper prints reaches the runner's stdout.

import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';

const MINUTES = 60_000;
const OUTPUT_LIMIT = 16 * 1024 * 1024;
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The search path for system programs: an ordinary user's PATH often lacks the sbin directories. */
export const systemPath = () => [process.env.PATH, SYSTEM_PATH].filter(Boolean).join(':');

/** @param {string} name @returns {string | undefined} */
export function findProgram(name) {
  for (const directory of systemPath().split(':')) {
    const file = path.resolve(directory, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this directory.
    }
  }
  return undefined;
}

/** The words that make a program die with the runner's main thread, where setpriv exists. @param {string[]} argv */
export function dyingWithParent(argv) {
  const setpriv = findProgram('setpriv');
  return setpriv === undefined ? argv : [setpriv, '--pdeathsig', 'KILL', '--', ...argv];
}

/**
 * Runs a helper to its end. Its stderr goes to the runner's stderr; its stdout too, unless `capture` asks for it.
 * @param {string[]} argv
 * @param {{ stop: AbortSignal, cwd?: string, env?: object, input?: string, capture?: boolean, quiet?: boolean,
 *   finishes?: boolean, minutes?: number }} options `finishes`: a signal to the runner waits for this program.
 * @returns {Promise<{ code: number, stdout: string, stderr: string }>} code 127 when it could not be started
 */
export async function runProgram(argv, options) {
  options.stop.throwIfAborted();
  const words = options.finishes ? argv : dyingWithParent(argv);
  const keepErrors = options.quiet ? 'pipe' : 2;
  const child = spawn(words[0], words.slice(1), {
    cwd: options.cwd,
    env: { ...process.env, PATH: systemPath(), LC_ALL: 'C', ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', options.capture ? 'pipe' : 2, keepErrors],
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const kill = () => child.kill(options.finishes ? 'SIGINT' : 'SIGKILL');
  const timer = setTimeout(kill, (options.minutes ?? 10) * MINUTES);
  options.stop.addEventListener('abort', kill, { once: true });
  try {
    const code = await new Promise((resolve) => {
      child.once('error', () => resolve(127));
      child.once('close', (status) => resolve(status ?? 128));
      child.stdin?.on('error', () => {});
      child.stdin?.end(options.input);
    });
    options.stop.throwIfAborted();
    return { code, stdout: stdout(), stderr: stderr() };
  } finally {
    clearTimeout(timer);
    options.stop.removeEventListener('abort', kill);
  }
}

/** @param {import('node:stream').Readable | null} stream */
function collect(stream) {
  const chunks = [];
  let size = 0;
  stream?.on('data', (chunk) => {
    size += chunk.length;
    if (size <= OUTPUT_LIMIT) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString('utf8');
}
