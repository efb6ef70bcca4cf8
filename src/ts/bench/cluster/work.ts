// What a stage of the cluster benchmark does, here and at the peers.
//
// Invariant: it notes each run before it works, in one write, so that what is done twice is seen from outside.
import { appendFileSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { RUNS_FILE } from './settings.js';

export interface ClusterMeta {
  readonly n: number;
  /** How long each stage sleeps. */
  readonly ms: number;
}

/** Runs one stage for one request. */
export async function runStage(stage: string, { n, ms }: ClusterMeta): Promise<void> {
  const file = process.env[RUNS_FILE];
  if (file !== undefined) appendFileSync(file, `${stage} ${n} ${process.pid}\n`);
  if (ms > 0) await sleep(ms);
}

/** What stages have noted: which process has run which stage for which request. */
export function readRuns(file: string): { stage: string; n: number; pid: number }[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.flatMap((line) => {
    const [stage, n, pid] = line.split(' ');
    return pid === undefined ? [] : [{ stage: stage!, n: Number(n), pid: Number(pid) }];
  });
}

/** How often a stage has run for a request, beyond once. */
export function runsTwice(file: string): number {
  const runs = readRuns(file);
  return runs.length - new Set(runs.map(({ stage, n }) => `${stage} ${n}`)).size;
}
