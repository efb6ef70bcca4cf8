// Runs a program of examples/ as a user would: in a process of its own. Not a test.
//
// Invariant: a program that does not end in time is killed, and its exit code is null.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { findRoot } from '../package/root.js';

const root = findRoot();

/** Of an example: the file itself, or what the build of the tests has made of one in TypeScript. */
export function exampleFile(name: string): string {
  const file = join(root, name.endsWith('.mts') ? 'build-test/examples' : 'examples', name.replace(/\.mts$/, '.mjs'));
  if (!existsSync(file)) throw new Error(`${file} is not there: node scripts/build-ts.mjs --test`);
  return file;
}

/** How a program ended. */
export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** @param input what its stdin holds */
export async function runExample(
  name: string,
  args: readonly string[],
  { input = '', env = {} }: { input?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [exampleFile(name), ...args], {
    env: { ...process.env, ...env },
    timeout: 100_000,
    killSignal: 'SIGKILL',
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  child.stdin.end(input);
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, out, err };
}
