// The process that makes the requests of one measurement of our own pipeline.
//
// Invariant: a process for each measurement, so that nobody starts with what another one has left in a queue, and who
// offers ten times the capacity to one slows down no other. Everything that it opened is closed before it answers.
import { serveParent } from '../kit/partner.js';
import { measureBatch } from './batch.js';
import { cancels } from './cancel.js';
import { saturate } from './generator.js';
import { hung } from './hung.js';
import { overload, twoTenants, WARM_UP_MS, warmUp } from './load.js';
import { clientsOf, LocalSubject } from './local-subject.js';
import { retries } from './retry.js';
import type { OverloadSettings, OverloadTest } from './settings.js';

/** One measurement; `capacity` is the first. */
export interface SourceRequest {
  do: OverloadTest | 'capacity';
  settings: OverloadSettings;
  /** 100 %; undefined: it is what is measured. */
  capacityPerSecond?: number;
  /** Of `load`. */
  factor?: number;
}

serveParent<SourceRequest>(async ({ do: what, settings, capacityPerSecond, factor = 1 }) => {
  if (what === 'batch') {
    const { device, work, serviceMs: taskMs, seconds } = settings;
    const measured = await measureBatch({ device, work, taskMs, durationMs: seconds * 1000 });
    const { batchSize: size, single: singlePerSecond, batched: batchedPerSecond } = measured;
    return { size, singlePerSecond, batchedPerSecond };
  }
  const subject = await LocalSubject.open(settings);
  try {
    if (what === 'capacity') {
      return { perSecond: await saturate(subject, settings, clientsOf(settings), WARM_UP_MS, settings.seconds) };
    }
    await warmUp(subject, settings);
    const capacity = capacityPerSecond!;
    if (what === 'load') return await overload(subject, settings, capacity, factor);
    if (what === 'retry') return await retries(subject, settings, capacity);
    if (what === 'cancel') return await cancels(subject);
    if (what === 'hung') return await hung(subject, settings, capacity);
    return await twoTenants(subject, settings, capacity);
  } finally {
    await subject.close();
  }
});
