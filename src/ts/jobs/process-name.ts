// Names of owners from which other processes of this machine see whether they live.
//
// Invariant: dead is only said of a process whose number could be looked up here: same boot, same namespace of process
// numbers, and the number is free or has another process now.
import { readFileSync, readlinkSync } from 'node:fs';

const DEAD_STATES = new Set(['Z', 'X']);

interface ProcessState {
  readonly state: string;
  /** When it began, in ticks since boot: with the number, it names a process for ever. */
  readonly begunAt: string;
}

// proc(5): the name, in brackets, may hold anything; then the state is the 3rd field and the start time the 22nd.
function processState(pid: string): ProcessState | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return { state: fields[0]!, begunAt: fields[19]! };
  } catch {
    return undefined;
  }
}

// Where process numbers mean the same.
function space(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim().replaceAll('-', '');
    const namespace = readlinkSync('/proc/self/ns/pid').replace(/\D/g, '');
    return `${boot}.${namespace}`;
  } catch {
    return '';
  }
}

/** @internal The name of an owner in this process. */
export function processName(unique: string): string {
  return [process.pid, processState('self')?.begunAt ?? '', space(), unique].join('/');
}

/** @internal True when the process of this name is known to have ended. */
export function isDeadProcess(name: string): boolean {
  const [pid = '', begunAt = '', where = ''] = name.split('/');
  if (!/^\d+$/.test(pid) || begunAt === '' || where === '' || where !== space()) return false;
  const now = processState(pid);
  return now === undefined || now.begunAt !== begunAt || DEAD_STATES.has(now.state);
}
