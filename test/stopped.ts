// Whether a process that got SIGSTOP has stopped. Not a test.
import { readdirSync, readFileSync } from 'node:fs';

/**
 * Whether all threads of a process are stopped: after SIGSTOP each of them goes on until it hears of it.
 *
 * @throws Error ENOENT when there is no such process
 */
export function haveThreadsStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  });
}
