// A point on a cluster: real processes, the shipped gateway, controller and node.
//
// Invariant: requests come when the trace says, whatever becomes of those before them. GPU time is that of all
// processes from their start to their end, within the trace.
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalCluster } from '../../src/ts/cluster/index.js';
import { RdmaError } from '../../src/ts/core/errors.js';
import { quantileOf } from '../../src/ts/planner/fleet/result.js';
import { DEVICE } from '../pipeline/support.js';
import { type Figures, MAX_QUEUED, type Point, traceOf } from './reality-points.js';
import { COST_CLASS, elastic, fixed, FIXED_INSTANCES } from './reality-workflow.js';

const LOOK_MS = 10;
/** As many as work at a time where the fleet is fixed. */
const WARM_UP = FIXED_INSTANCES;

/** What was measured. */
export interface Measured extends Figures {
  readonly requests: number;
  readonly refused: number;
  /** Ended at their deadline. */
  readonly late: number;
  /** Counts of processes that changed, in s from the beginning of the trace. */
  readonly counts: readonly (readonly [atS: number, processes: number])[];
}

/** Runs the requests of a point. @throws when one fails for another reason than its deadline */
export async function measurePoint(point: Point): Promise<Measured> {
  const trace = traceOf(point);
  const has = { host: 'a', cores: 64, memoryBytes: 2 ** 33 };
  const cluster = await LocalCluster.start(point.isElastic ? elastic : fixed, {
    device: DEVICE,
    has,
    maxQueued: MAX_QUEUED,
  });
  try {
    const { pipeline } = cluster;
    const timeoutMs = point.deadlineS === undefined ? undefined : point.deadlineS * 1000;
    const run = (units: number, options: { timeoutMs?: number }) =>
      pipeline.run({ meta: { units } }, { ...options, cost: { class: COST_CLASS, units } });
    // No task that counts is the first one of its process, and costs are known: tasks that are like those that count.
    const warmUp = point.isElastic ? 1 : WARM_UP;
    for (let i = 0; i < 2; i++) await Promise.all(Array.from({ length: warmUp }, () => run(1, {})));
    const latencyS: number[] = [];
    let [refused, late] = [0, 0];
    const counts: [number, number][] = [];
    let [gpuMs, lookedMs] = [0, 0];
    const beganMs = performance.now();
    const look = () => {
      const nowMs = Math.min(performance.now() - beganMs, point.seconds * 1000);
      const count = cluster.processes.length;
      gpuMs += count * Math.max(0, nowMs - lookedMs);
      lookedMs = nowMs;
      if (counts.at(-1)?.[1] !== count) counts.push([nowMs / 1000, count]);
    };
    const timer = setInterval(look, LOOK_MS);
    const requests: Promise<void>[] = [];
    for (let i = 0; i < trace.arrivalS.length; i++) {
      await sleep(Math.max(0, beganMs + trace.arrivalS[i]! * 1000 - performance.now()));
      const cameMs = performance.now();
      const done = run(trace.units[i]!, timeoutMs === undefined ? {} : { timeoutMs }).then(
        () => void latencyS.push((performance.now() - cameMs) / 1000),
        (error: unknown) => {
          const code = error instanceof RdmaError ? error.code : '';
          if (code === 'RDMA_ERR_REJECTED') refused++;
          else if (code === 'RDMA_ERR_DEADLINE') late++;
          else throw error;
        },
      );
      requests.push(done);
    }
    await sleep(Math.max(0, beganMs + point.seconds * 1000 - performance.now()));
    clearInterval(timer);
    look();
    await Promise.all(requests);
    const sorted = Float64Array.from(latencyS).sort();
    const all = trace.arrivalS.length;
    return {
      gpus: gpuMs / 1000 / point.seconds,
      p50S: quantileOf(sorted, 0.5),
      p95S: quantileOf(sorted, 0.95),
      rejected: (refused + late) / all,
      requests: all,
      refused: refused / all,
      late: late / all,
      counts,
    };
  } finally {
    await cluster.close();
  }
}
