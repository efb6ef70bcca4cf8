// What the processes of a subject use, from /proc.
//
// Invariant: all of them are counted, from the one that makes the requests down to the last child; a set of processes
// that has changed while it was measured is an error, never a smaller figure.
import { readdirSync, readFileSync } from 'node:fs';
import { RdmaError } from '../../core/errors.js';

/** Of utime and stime in /proc/PID/stat: USER_HZ, which Linux keeps at 100 for programs on every machine. */
const TICK_US = 10_000;

export interface Memory {
  /** Pages that the processes have mapped and are there, shared ones once for each. */
  rssKib: number;
  /** The same, with a shared page divided among those that map it. */
  pssKib: number;
}

/** The fields of /proc/PID/stat from the third on (proc(5)); the name before them may hold anything. */
function statOf(pid: number | string): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** The processes of a group that run, leader or not. */
export function groupOf(group: number): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return Number(statOf(name)[2]) === group ? [Number(name)] : [];
    } catch {
      return []; // it has ended meanwhile
    }
  });
}

/** A process and all that descend from it, in ascending order. */
export function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    let parent: number;
    try {
      parent = Number(statOf(name)[1]);
    } catch {
      continue; // it has ended meanwhile
    }
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const tree: number[] = [];
  const left = [root];
  for (let pid = left.pop(); pid !== undefined; pid = left.pop()) {
    tree.push(pid);
    left.push(...(children.get(pid) ?? []));
  }
  return tree.sort((a, b) => a - b);
}

/**
 * Processor time of the processes so far, in us: utime and stime of all their threads.
 *
 * @throws RdmaError RDMA_ERR_PEER_GONE when one of them has ended
 */
export function cpuUsOf(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = stillThere(pid, () => statOf(pid));
    ticks += Number(stat[11]) + Number(stat[12]);
  }
  return ticks * TICK_US;
}

/** The memory of the processes. @throws RdmaError RDMA_ERR_PEER_GONE when one of them has ended */
export function memoryOf(pids: readonly number[]): Memory {
  const memory = { rssKib: 0, pssKib: 0 };
  for (const pid of pids) {
    const text = stillThere(pid, () => readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'));
    memory.rssKib += kibOf(text, 'Rss');
    memory.pssKib += kibOf(text, 'Pss');
  }
  return memory;
}

function kibOf(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN);
}

function stillThere<T>(pid: number, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_PEER_GONE', `process ${pid} has ended while it was measured`, { cause });
  }
}

/** @throws RdmaError RDMA_ERR_PEER_GONE when the processes below `root` are not those that they were */
export function checkTree(root: number, before: readonly number[]): void {
  const after = treeOf(root);
  if (after.length === before.length && after.every((pid, i) => pid === before[i])) return;
  throw new RdmaError('RDMA_ERR_PEER_GONE', 'a process has ended or begun while they were measured');
}
