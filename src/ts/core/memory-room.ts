// How much memory this process and those that it starts may still take.
//
// Invariant: reading never throws, and what cannot be read limits nothing; of the machine and of every control group
// above this process the tightest one counts.
// Source: proc(5), /proc/meminfo; the kernel's Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.current,
// memory.stat, memory.swap.max) and cgroup-v1/memory.rst.
import { readFileSync } from 'node:fs';

/** Reads a whole file; undefined when it is not there or may not be read. */
export type ReadText = (path: string) => string | undefined;

/** What is left, and of what. */
export interface MemoryRoom {
  /** Bytes that may still be taken. */
  readonly bytes: number;
  /** For people, such as `the control group /user.slice leaves 1.0 GiB of 2.0 GiB (memory.max)`. */
  readonly words: string;
}

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/**
 * Looks at the machine and at the control groups of this process.
 *
 * @param read for tests; default: the files of this machine
 * @returns the tightest limit; undefined when nothing can be read
 */
export function memoryRoom(read: ReadText = readText): MemoryRoom | undefined {
  const swapBytes = meminfo(read, 'SwapFree') ?? 0;
  return tightest([machine(read, swapBytes), controlGroupRoom(read)]);
}

/** The tightest limit of a control group only; undefined when none limits this process. */
export function controlGroupRoom(read: ReadText = readText): MemoryRoom | undefined {
  const swapBytes = meminfo(read, 'SwapFree') ?? 0;
  return tightest(groups(read).map((group) => groupRoom(read, group, swapBytes)));
}

function tightest(rooms: readonly (MemoryRoom | undefined)[]): MemoryRoom | undefined {
  const known = rooms.filter((room) => room !== undefined);
  return known.reduce<MemoryRoom | undefined>(
    (least, room) => (least === undefined || room.bytes < least.bytes ? room : least),
    undefined,
  );
}

/** A number of bytes in words, such as `1.5 GiB`. */
export function bytesInWords(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function meminfo(read: ReadText, name: string): number | undefined {
  const kib = new RegExp(`^${name}:\\s+(\\d{1,15}) kB$`, 'm').exec(read('/proc/meminfo') ?? '')?.[1];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

function machine(read: ReadText, swapBytes: number): MemoryRoom | undefined {
  const bytes = meminfo(read, 'MemAvailable');
  if (bytes === undefined) return undefined;
  const swap = swapBytes === 0 ? '' : ` and ${bytesInWords(swapBytes)} of swap`;
  return { bytes: bytes + swapBytes, words: `the machine has ${bytesInWords(bytes)}${swap} left (MemAvailable)` };
}

/** One control group, and the names of its files. */
interface Group {
  readonly name: string;
  readonly folder: string;
  readonly version: 1 | 2;
}

// From this process's own up to the root, as the machine names them; in a container the root may be its own.
function groups(read: ReadText): Group[] {
  const found: Group[] = [];
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const version = controllers === '' ? 2 : controllers.split(',').includes('memory') ? 1 : undefined;
    if (version === undefined) continue;
    const mount = version === 2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
    const steps = path.split('/').filter((step) => step !== '');
    for (let depth = steps.length; depth >= 0; depth--) {
      const name = `/${steps.slice(0, depth).join('/')}`;
      found.push({ name, folder: depth === 0 ? mount : mount + name, version });
    }
  }
  return found;
}

function groupRoom(read: ReadText, { name, folder, version }: Group, swapBytes: number): MemoryRoom | undefined {
  const number = (file: string) => {
    const text = read(`${folder}/${file}`)?.trim() ?? '';
    return /^\d{1,20}$/.test(text) ? Number(text) : undefined; // "max" is no limit
  };
  const limitFile = version === 2 ? 'memory.max' : 'memory.limit_in_bytes';
  const limit = number(limitFile);
  const used = number(version === 2 ? 'memory.current' : 'memory.usage_in_bytes');
  // Version 1 writes the largest number for no limit.
  if (limit === undefined || used === undefined || limit >= 2 ** 60) return undefined;
  const pattern = version === 2 ? /^inactive_file (\d+)$/m : /^total_inactive_file (\d+)$/m;
  const cache = Number(pattern.exec(read(`${folder}/memory.stat`) ?? '')?.[1] ?? 0);
  const swapLimit = version === 2 ? number('memory.swap.max') : 0;
  const swapUsed = number('memory.swap.current') ?? 0;
  const swap = Math.min(swapBytes, Math.max(0, (swapLimit ?? Infinity) - swapUsed));
  const bytes = Math.max(0, limit - used + cache) + swap;
  const words = `the control group ${name} leaves ${bytesInWords(bytes)} of ${bytesInWords(limit)} (${limitFile})`;
  return { bytes, words };
}
