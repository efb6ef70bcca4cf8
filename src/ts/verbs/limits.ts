// What the operating system allows, for remedies in errors.
//
// Invariant: only read, never changed, and never needed for success.
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

function memlockLimit(): string {
  try {
    const line = readFileSync('/proc/self/limits', 'utf8')
      .split('\n')
      .find((l) => l.startsWith('Max locked memory'));
    return line?.slice(26).trim().split(/\s+/)[0] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

/** Words for a failed registration of `bytes` bytes, or undefined when the errno has nothing to do with limits. */
export function memlockRemedy(errno: number, bytes: number): string | undefined {
  if (errno !== -constants.errno.ENOMEM && errno !== -constants.errno.EPERM) return undefined;
  return `requested ${bytes} bytes; RLIMIT_MEMLOCK is ${memlockLimit()} bytes (raise it with ulimit -l)`;
}
