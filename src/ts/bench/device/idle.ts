// What a process with an open, connected device costs while nothing happens.
//
// Invariant: it is looked at from outside, thread by thread, so that looking does not wake it; processor time is the
// kernel's own count in nanoseconds.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface IdleCost {
  seconds: number;
  threads: number;
  cpuMs: number;
  cpuPercent: number;
  /** How often any thread was given a processor: each would be a timer, or somebody else's doing. */
  wakes: number;
}

interface Count {
  cpuNs: number;
  runs: number;
}

/** @throws Error with the errno when the kernel does not count (CONFIG_SCHED_INFO) or the process is gone */
export async function idleCost(pid: number, seconds: number, signal: AbortSignal | undefined): Promise<IdleCost> {
  const before = threadsOf(pid);
  const begin = performance.now();
  await sleep(seconds * 1000, undefined, signal === undefined ? {} : { signal });
  const tookMs = performance.now() - begin;
  const after = threadsOf(pid);
  let cpuNs = 0;
  let wakes = 0;
  for (const [thread, count] of after) {
    cpuNs += count.cpuNs - (before.get(thread)?.cpuNs ?? 0);
    wakes += count.runs - (before.get(thread)?.runs ?? 0);
  }
  const cpuMs = cpuNs / 1e6;
  return { seconds: tookMs / 1000, threads: after.size, cpuMs, cpuPercent: (cpuMs / tookMs) * 100, wakes };
}

// /proc/PID/task/TID/schedstat: time on a processor in ns, time waiting for one, times it was given one.
function threadsOf(pid: number): Map<string, Count> {
  const folder = `/proc/${pid}/task`;
  return new Map(
    readdirSync(folder).map((thread) => {
      const [cpuNs, , runs] = readFileSync(`${folder}/${thread}/schedstat`, 'latin1').trim().split(' ').map(Number);
      return [thread, { cpuNs: cpuNs!, runs: runs! }];
    }),
  );
}
