// The port through which the checks read the machine.
//
// Invariant: reading never throws; what is missing or may not be read is undefined. Checks use nothing else of the
// machine, so tests can put a recorded tree in its place.
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { arch, release } from 'node:os';
import { limitIn } from '../verbs/limits.js';

/** What this user may do with a file. */
export type FileAccess = 'read-write' | 'denied' | 'missing';

export interface System {
  /** `process.version`. */
  nodeVersion: string;
  /** Of the kernel, as uname(2) says it. */
  kernelRelease: string;
  arch: string;
  /** The whole text, or undefined. */
  readFile(path: string): string | undefined;
  /** Sorted names in a folder, or undefined when it cannot be listed. */
  readdir(path: string): string[] | undefined;
  exists(path: string): boolean;
  access(path: string): FileAccess;
}

/** This machine. */
export function thisSystem(): System {
  return {
    nodeVersion: process.version,
    kernelRelease: release(),
    arch: arch(),
    readFile: (path) => attempt(() => readFileSync(path, 'utf8')),
    readdir: (path) => attempt(() => readdirSync(path).sort()),
    exists: existsSync,
    access: (path) => {
      if (!existsSync(path)) return 'missing';
      const allowed = attempt(() => accessSync(path, constants.R_OK | constants.W_OK) ?? true);
      return allowed === true ? 'read-write' : 'denied';
    },
  };
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    return undefined;
  }
}

/** A limit of this process. */
export interface Limit {
  /** In the units of /proc/PID/limits; Infinity when unlimited. */
  soft: number;
  hard: number;
}

/**
 * The limit of that name in /proc/self/limits, such as `Max locked memory` in bytes; undefined when it is not there.
 */
export function limitOf(system: System, name: string): Limit | undefined {
  const limit = limitIn(system.readFile('/proc/self/limits') ?? '', name);
  if (limit === undefined) return undefined;
  const number = (text: string) => (text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text));
  return { soft: number(limit.soft), hard: number(limit.hard) };
}

/** The number in a file such as /sys/class/net/eth0/mtu; undefined when it is not there or holds none. */
export function numberIn(system: System, path: string): number | undefined {
  const text = system.readFile(path)?.trim() ?? '';
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
