// A worker of one stage of the BullMQ flow, with the settings that BullMQ has by default.
//
// Invariant: it does what a stage of our workflow does: see ../cluster/work.ts.
import type * as BullMq from 'bullmq';
import { CONCURRENCY } from '../../../src/ts/bench/cluster/settings.js';
import { type ClusterMeta, runStage } from '../../../src/ts/bench/cluster/work.js';
import { serveParent } from '../../../src/ts/bench/kit/partner.js';
import { queueOf } from './bullmq-flow.js';
import { loadPackage } from '../installed.js';

export interface BullMqFlowRequest {
  /** Of the socket of Redis. */
  path: string;
  stage: string;
}

serveParent<BullMqFlowRequest>(async ({ path, stage }) => {
  const { Worker } = loadPackage<typeof BullMq>('bullmq');
  const run = async ({ data }: BullMq.Job<ClusterMeta>) => {
    await runStage(stage, data);
    return { n: data.n };
  };
  const connection = { path, maxRetriesPerRequest: null };
  const worker = new Worker(queueOf(stage), run, { connection, concurrency: CONCURRENCY });
  worker.on('error', () => {}); // Redis goes first in the end
  await worker.waitUntilReady();
  return { ready: true };
});
