// How much more a stage does when it takes eight tasks at a time that cost 1.5 times as much as one.
//
// Invariant: both are measured with the same clients, enough to fill every batch, one after the other.
import { saturate } from './generator.js';
import { WARM_UP_MS } from './load.js';
import { LocalSubject } from './local-subject.js';
import type { BatchMeasured } from './measured.js';
import { BATCH, type OverloadSettings } from './settings.js';

/** Batches that are ready for each instance, with the one that it runs. */
const READY = 3;

/** @throws as saturate(); RdmaError as LocalPipeline.start() */
export async function batches(settings: OverloadSettings): Promise<BatchMeasured> {
  const clients = READY * BATCH * settings.instances;
  const rateOf = async (flow: 'single' | 'batched') => {
    const subject = await LocalSubject.open(settings, flow);
    try {
      return await saturate(subject, settings, clients, WARM_UP_MS, settings.seconds);
    } finally {
      await subject.close();
    }
  };
  const singlePerSecond = await rateOf('single');
  return { size: BATCH, singlePerSecond, batchedPerSecond: await rateOf('batched') };
}
