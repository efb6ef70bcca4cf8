// The state of a process, as the kernel reports it.
//
// Invariant: the process itself is not asked, as it may be stopped, or busy for minutes.
import { readFileSync } from 'node:fs';

/**
 * Whether a process is stopped by a signal (SIGSTOP, SIGTSTP), and not by a debugger.
 *
 * @returns false also for one that has ended
 * @see proc_pid_stat(5): the state follows the name, which is in brackets and may hold anything
 */
export function isStopped(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat[stat.lastIndexOf(')') + 2] === 'T';
  } catch {
    return false;
  }
}
