// One instance of a stage stops (SIGSTOP) under load: what the others still answer.
//
// Invariant: the process that is stopped was started by this pipeline, is stopped by its id, and goes on in the end.
import { poisson } from './arrivals.js';
import { offer } from './generator.js';
import { settleMs } from './load.js';
import type { LocalSubject } from './local-subject.js';
import type { HungMeasured } from './measured.js';
import { type OverloadSettings, STAGES } from './settings.js';
import type { CallRecord } from './tally.js';

/** In capacities. */
const FACTOR = 1.3;
/** The others have so long to get going. */
const AFTER_MS = 1000;

export async function hung(
  subject: LocalSubject,
  settings: OverloadSettings,
  capacityPerSecond: number,
): Promise<HungMeasured> {
  const { seconds, deadlineMs, seed, instances } = settings;
  const fromMs = settleMs(settings);
  const stopMs = fromMs + seconds * 1000;
  const afterMs = stopMs + AFTER_MS;
  const toMs = afterMs + seconds * 1000;
  const arrivals = poisson(capacityPerSecond * FACTOR, 0, toMs, [seed, 5]);
  const { pid } = subject.pipeline.processes.find(({ stage }) => stage === STAGES[1])!;
  let isStopped = false;
  const onTime = (nowMs: number) => {
    if (isStopped || nowMs < stopMs) return;
    isStopped = true;
    process.kill(pid, 'SIGSTOP');
  };
  let records: CallRecord[];
  try {
    records = await offer({ subject, settings, arrivals, onTime });
  } finally {
    // Unless it was killed and replaced meanwhile, and waited for: then the number is nobody's, or somebody else's.
    if (subject.pipeline.processes.some((running) => running.pid === pid)) process.kill(pid, 'SIGCONT');
  }
  const inTime = records.filter(({ end, dueMs, endedMs }) => end === 'answered' && endedMs - dueMs <= deadlineMs);
  const perSecond = (from: number, to: number) =>
    inTime.filter(({ endedMs }) => endedMs >= from && endedMs < to).length / ((to - from) / 1000);
  return { instances, beforePerSecond: perSecond(fromMs, stopMs), afterPerSecond: perSecond(afterMs, toMs) };
}
