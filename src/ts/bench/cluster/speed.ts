// Latency and throughput of the workflow, one after another for each subject, in turn.
//
// Invariant: all subjects are up while each is measured; each gets the same requests, and the same time.
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterLoad, type ClusterSubject, type LoadFigures } from './load.js';
import type { ClusterRows } from './result.js';

const WARM_UP_MS = 1000;
/** Requests at a time when throughput is measured. */
const MANY = 32;

export interface SpeedContext {
  readonly subjects: readonly ClusterSubject[];
  readonly seconds: number;
  readonly rows: ClusterRows;
  readonly signal: AbortSignal;
  readonly onStep: (words: string) => void;
}

async function load(subject: ClusterSubject, clients: number, { seconds, signal }: SpeedContext): Promise<LoadFigures> {
  const running = new ClusterLoad(subject, clients, 0);
  try {
    await sleep(WARM_UP_MS, undefined, { signal });
    running.take();
    await sleep(seconds * 1000, undefined, { signal });
    return running.take();
  } finally {
    await running.stop();
  }
}

/** Measures all subjects. */
export async function measureSpeed(context: SpeedContext): Promise<void> {
  const { subjects, rows, onStep } = context;
  for (const subject of subjects) {
    const { peer } = subject;
    onStep(`latency of ${peer ?? 'the cluster'}`);
    const one = await load(subject, 1, context);
    onStep(`throughput of ${peer ?? 'the cluster'}`);
    const many = await load(subject, MANY, context);
    const add = (test: string, what: string, value: number | null, unit: 'ms' | 'requests/s') =>
      rows.add({ test, peer, what, value, unit });
    add('cluster-latency-p50', 'three stages without work, one request at a time: p50', one.p50Ms, 'ms');
    add('cluster-latency-p99', 'the same: p99', one.p99Ms, 'ms');
    add('cluster-throughput', `the same, ${MANY} at a time`, many.perSecond, 'requests/s');
    const failed = one.failed + many.failed;
    const what = `of these: failed requests${failed === 0 ? '' : `; ${one.reason ?? many.reason}`}`;
    rows.add({ test: 'cluster-speed-failed', peer, what, value: failed, unit: 'requests' });
  }
}
