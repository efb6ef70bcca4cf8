// What the operating system allows, for remedies in errors.
//
// Invariant: only read, never changed, and never needed for success.
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

/**
 * One limit as the kernel writes it.
 *
 * @param text of /proc/PID/limits
 * @param name such as `Max locked memory`
 * @returns both values as they stand there, `unlimited` or digits; undefined when there is no such line
 */
export function limitIn(text: string, name: string): { soft: string; hard: string } | undefined {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
  const [soft, hard] = line?.slice(name.length).trim().split(/\s+/) ?? [];
  return soft === undefined || hard === undefined ? undefined : { soft, hard };
}

/**
 * A limit of this process now.
 *
 * @param name as in {@link limitIn}
 * @returns `unlimited` or digits; undefined when it cannot be read
 */
export function currentLimit(name: string): string | undefined {
  try {
    return limitIn(readFileSync('/proc/self/limits', 'utf8'), name)?.soft;
  } catch {
    return undefined;
  }
}

/** Words for a failed registration of `bytes` bytes, or undefined when the errno has nothing to do with limits. */
export function memlockRemedy(errno: number, bytes: number): string | undefined {
  if (errno !== -constants.errno.ENOMEM && errno !== -constants.errno.EPERM) return undefined;
  return `requested ${bytes} bytes; RLIMIT_MEMLOCK is ${currentLimit('Max locked memory') ?? 'unknown'} bytes (raise it with ulimit -l)`;
}
