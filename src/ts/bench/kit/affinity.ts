// Which cores the two processes of a measurement run on.
//
// Invariant: where there are two cores, two processes that poll never share one, as under mpirun(1), which binds its
// ranks to cores by default; this process has its former affinity back when the measurement has ended.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { RdmaError } from '../../core/errors.js';

/** The cores that this process may use, as in /proc/self/status: `0-3,8`. */
function allowedList(): string {
  return /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '';
}

/** The numbers in a list such as `0-3,8`. */
export function coresIn(list: string): number[] {
  return list.split(',').flatMap((item) => {
    const [first, last] = item.split('-').map(Number);
    if (item === '' || !Number.isInteger(first)) return [];
    return Array.from({ length: (last ?? first!) - first! + 1 }, (_, i) => first! + i);
  });
}

/** The cores that this process may use. */
export function allowedCores(): number[] {
  return coresIn(allowedList());
}

function setCores(pid: number, list: string): void {
  const set = spawnSync('taskset', ['-c', '-p', list, String(pid)], { encoding: 'utf8', timeout: 10_000 });
  if (set.status === 0) return;
  const words = set.error?.message ?? set.stderr.trim();
  throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `process ${pid} cannot be bound to core ${list}: ${words}`, {
    remedy: 'apt-get install util-linux',
  });
}

/**
 * Where there are two cores, binds the main thread of this process to the first and that of another one to the second;
 * several others share all the cores that are left.
 *
 * @returns what undoes it here
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when taskset(1) fails
 */
export function bindApart(...otherPids: number[]): () => void {
  const list = allowedList();
  const [mine, ...others] = coresIn(list);
  if (mine === undefined || others.length === 0) return () => {};
  const theirs = otherPids.length === 1 ? String(others[0]) : others.join(',');
  for (const pid of otherPids) setCores(pid, theirs);
  setCores(process.pid, String(mine));
  return () => setCores(process.pid, list);
}
