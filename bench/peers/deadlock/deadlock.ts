// `onepiece bench deadlock`: three protocols under the same seeded faults.
//
// Invariant: the same seed and number of trials give the same results, on any machine.
import { setImmediate as turn } from 'node:timers/promises';
import { RdmaError } from '../../../src/ts/core/errors.js';
import { percentile, round3 } from '../../../src/ts/bench/kit/statistics.js';
import type { DeadlockOptions, DeadlockResult } from '../../../src/ts/bench/deadlock.js';
import { playTrial, type Protocol } from './trial.js';

export { type Protocol, protocols } from './trial.js';

/**
 * Plays the trials of one protocol.
 *
 * @throws RdmaError RDMA_ERR_ABORTED when the signal is aborted; Error when a protocol does what none may do, with the
 *   seed of the trial
 */
export async function deadlockBench(options: DeadlockOptions<Protocol>): Promise<DeadlockResult<Protocol>> {
  const { protocol, trials, seed, signal, onProgress } = options;
  const sums = { deadlocks: 0, lost: 0, torn: 0, duplicated: 0 };
  const recoveries: number[] = [];
  for (let i = 0; i < trials; i++) {
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the benchmark was interrupted');
    const result = await playTrial(protocol, seed + i);
    if (result.deadlock) sums.deadlocks++;
    sums.lost += result.lost;
    sums.torn += result.torn;
    sums.duplicated += result.duplicated;
    recoveries.push(...result.recoveryMs);
    if (i % 100 === 99) {
      onProgress?.(i + 1);
      await turn();
    }
  }
  const sorted = Float64Array.from(recoveries).sort();
  const share = (part: number) => {
    const ms = percentile(sorted, part);
    return Number.isFinite(ms) ? round3(ms) : null;
  };
  const never = recoveries.filter((ms) => ms === Number.POSITIVE_INFINITY).length;
  const recoveryMs = { p50: share(0.5), p99: share(0.99), faults: recoveries.length, never };
  return { test: 'deadlock', device: 'sim0', protocol, seed, trials, ...sums, recoveryMs };
}
