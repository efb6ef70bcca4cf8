// The process that makes the requests of one measurement of a message system of Node.js.
//
// Invariant: as the one that measures our own pipeline: see src/ts/bench/pipeline/source-main.ts.
import { serveParent } from '../../../src/ts/bench/kit/partner.js';
import { measureSubject } from '../../../src/ts/bench/pipeline/measure.js';
import type { PipelinePlan } from '../../../src/ts/bench/pipeline/settings.js';
import { MessengerSubject } from './messenger-subject.js';

export interface MessengerRequest {
  /** Of the message system. */
  name: string;
  /** For its sockets. */
  folder: string;
  plan: PipelinePlan;
}

serveParent<MessengerRequest>(async ({ name, folder, plan }) => {
  const subject = await MessengerSubject.open(name, folder, plan.shape, plan.sizeBytes);
  try {
    return await measureSubject(subject, plan);
  } finally {
    await subject.close();
  }
});
