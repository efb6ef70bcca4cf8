// The worker of the BullMQ peer, as somebody writes it who has read its manual.
//
// Invariant: a job whose time is over when its turn comes is not begun.
import type * as BullMq from 'bullmq';
import type { WorkKind } from '../../../src/ts/bench/overload/settings.js';
import { work } from '../../../src/ts/bench/overload/work.js';
import { serveParent } from '../../../src/ts/bench/kit/partner.js';
import { EXPIRED, QUEUE } from './bullmq.js';
import { loadPackage } from '../installed.js';

export interface BullMqRequest {
  /** Of the socket of Redis. */
  path: string;
  concurrency: number;
  work: WorkKind;
}

interface JobData {
  ms: number[];
  /** By the clock of the host, which both processes share. */
  untilMs: number | null;
}

serveParent<BullMqRequest>(async ({ path, concurrency, work: kind }) => {
  const { UnrecoverableError, Worker } = loadPackage<typeof BullMq>('bullmq');
  const run = async ({ data }: BullMq.Job<JobData>) => {
    if (data.untilMs !== null && Date.now() >= data.untilMs) throw new UnrecoverableError(EXPIRED);
    for (const ms of data.ms) await work(kind, ms);
  };
  const worker = new Worker(QUEUE, run, { connection: { path, maxRetriesPerRequest: null }, concurrency });
  worker.on('error', () => {}); // Redis goes first in the end
  await worker.waitUntilReady();
  return { ready: true };
});
