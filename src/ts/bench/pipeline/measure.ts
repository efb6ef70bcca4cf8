// One measurement of one subject, in the process that makes its requests.
//
// Invariant: the processes that are counted are this one and all below it; the subject is open before and after.
import { Load } from './load.js';
import { inFlightOf, type PipelinePlan, restsWithin } from './settings.js';
import type { Measured, Subject } from './subject.js';

/**
 * Warms the subject up and measures what the plan says.
 *
 * @throws RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_PROTOCOL, RDMA_ERR_PEER_GONE; what the subject has failed with
 */
export async function measureSubject(subject: Subject, plan: PipelinePlan): Promise<Measured> {
  const load = new Load(subject, plan.sizeBytes);
  const { task } = plan;
  load.start(inFlightOf(plan));
  await load.warmUp();
  if (task.do === 'load' || task.do === 'stream') {
    const measured = await load.measure(process.pid, task.seconds);
    await load.stop();
    return measured;
  }
  await load.stop();
  if (task.do === 'rest') {
    return await load.rest(process.pid, task.restMs, restsWithin(task.seconds, task.restMs));
  }
  return await load.idle(process.pid, task.seconds);
}
