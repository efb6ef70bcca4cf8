// What the processes of a stage take: memory of the host as the kernel counts it, memory of GPUs as the driver does.
//
// Invariant: a process that leads a group is counted with all of its group, as its handlers may have started others.
// What cannot be read is undefined, never 0.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { groupOf } from '../kit/processes.js';

const LIMIT_MS = 10_000;
const EVERY_MS = 250;

/**
 * The most memory that the processes of a group had so far, each at its own peak, in bytes.
 *
 * @returns undefined when none of them can be read
 * @see proc_pid_status(5): VmHWM, in KiB
 */
export function peakBytesOf(group: number): number | undefined {
  let sum: number | undefined;
  for (const pid of groupOf(group)) {
    try {
      const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
      if (found !== null) sum = (sum ?? 0) + Number(found[1]) * 1024;
    } catch {
      // It has ended meanwhile.
    }
  }
  return sum;
}

/** Reads lines of `pid, MiB` of nvidia-smi. @returns bytes by process, those on several GPUs by the largest */
export function readGpuApps(text: string): Map<number, number> {
  const byPid = new Map<number, number>();
  for (const line of text.split('\n')) {
    const found = /^\s*(\d+)\s*,\s*(\d+)\s*$/.exec(line);
    if (found === null) continue; // such as [N/A]
    const [pid, bytes] = [Number(found[1]), Number(found[2]) * 2 ** 20];
    byPid.set(pid, Math.max(byPid.get(pid) ?? 0, bytes));
  }
  return byPid;
}

/** Looks at the memory of GPUs again and again, while stages work. */
export class GpuMemoryWatch {
  private readonly peaks = new Map<string, number>();
  private readonly over: Promise<void>;
  private isStopped = false;
  /** Why nothing is known; undefined: something may be. */
  problem: string | undefined;

  /** @param groups the process group of each stage's first instance, by stage */
  constructor(private readonly groups: () => ReadonlyMap<string, number>) {
    this.over = this.watch();
  }

  private async watch(): Promise<void> {
    while (!this.isStopped && this.problem === undefined) {
      await this.look();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  private async look(): Promise<void> {
    const args = ['--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits'];
    let apps: Map<number, number>;
    try {
      const { stdout } = await promisify(execFile)('nvidia-smi', args, { timeout: LIMIT_MS, killSignal: 'SIGKILL' });
      apps = readGpuApps(stdout);
    } catch (error) {
      this.problem = `nvidia-smi cannot be asked: ${(error as Error).message.split('\n')[0]}`;
      return;
    }
    for (const [stage, group] of this.groups()) {
      const found = groupOf(group).flatMap((pid) => apps.get(pid) ?? []);
      if (found.length === 0) continue;
      const bytes = found.reduce((a, b) => a + b, 0);
      this.peaks.set(stage, Math.max(this.peaks.get(stage) ?? 0, bytes));
    }
  }

  /** Looks no more. @returns the most that was seen, in bytes of one GPU, by stage */
  async stop(): Promise<ReadonlyMap<string, number>> {
    this.isStopped = true;
    await this.over;
    return this.peaks;
  }
}
