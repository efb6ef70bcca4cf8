// Whether the processes of a measurement had the processor when they wanted it.
//
// Invariant: the figures are the kernel's: /proc/PID/task/TID/schedstat counts the nanoseconds that a thread ran and
// those that it waited for a processor (Documentation/scheduler/sched-stats.rst). A thread without it is left out.
import { readFileSync } from 'node:fs';

/** Who waited for a larger share of the time shared a core with somebody. */
const MOST_WAITED = 0.05;

interface Reading {
  ranNs: number;
  waitedNs: number;
}

function read(pid: number): Reading | undefined {
  try {
    const [ranNs, waitedNs] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'latin1').split(' ').map(Number);
    return Number.isFinite(ranNs) && Number.isFinite(waitedNs) ? { ranNs: ranNs!, waitedNs: waitedNs! } : undefined;
  } catch {
    return undefined;
  }
}

/** The main threads of some processes, from now on. */
export class Contention {
  private readonly begun: { pid: number; reading: Reading }[] = [];

  constructor(pids: readonly number[]) {
    for (const pid of pids) {
      const reading = read(pid);
      if (reading !== undefined) this.begun.push({ pid, reading });
    }
  }

  /** The largest share of the time that one of them wanted the processor in which it did not have it, 0 to 1. */
  get waitedShare(): number {
    let most = 0;
    for (const { pid, reading } of this.begun) {
      const now = read(pid);
      if (now === undefined) continue;
      const waited = now.waitedNs - reading.waitedNs;
      const wanted = waited + now.ranNs - reading.ranNs;
      if (wanted > 0) most = Math.max(most, waited / wanted);
    }
    return most;
  }

  /** What to tell people about that; undefined: nothing. */
  warning(): string | undefined {
    const share = this.waitedShare;
    if (share <= MOST_WAITED) return undefined;
    const percent = Math.round(100 * share);
    return `for ${percent} % of the time a side waited for the processor: the machine was busy, and the figures are worse than the device`;
  }
}
