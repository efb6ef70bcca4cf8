// Ending a process that a benchmark has started.
//
// Invariant: it is gone when killed() has ended; one that ended by itself is left alone.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Whether a process has ended, or never began. */
export function hasEnded({ exitCode, signalCode, pid }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null || pid === undefined;
}

/** Ends a process at once, and waits until it is gone. */
export async function killed(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
