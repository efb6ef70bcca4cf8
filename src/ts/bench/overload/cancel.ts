// How long a request that was aborted keeps its places, when its handler listens.
//
// Invariant: a place is free when the gateway and every process say that they hold nothing of any request. The time
// runs until that answer is there, so it holds what asking takes.
import { spreadOf } from '../kit/statistics.js';
import type { LocalSubject } from './local-subject.js';
import type { CancelMeasured } from './measured.js';
import { STAGES } from './settings.js';
import type { OverloadMeta } from './work.js';

const ROUNDS = 60;
/** The task that is aborted sleeps for so long when nobody stops it. */
const TASK_MS = 8000;
/** A place that still holds something after this time is stuck. The test ends after MOST_STUCK of them. */
const LIMIT_MS = 3000;
const MOST_STUCK = 2;
const REACHED_MS = 10_000;

export async function cancels(subject: LocalSubject): Promise<CancelMeasured> {
  const tookMs: number[] = [];
  let stuck = 0;
  let rounds = 0;
  for (; rounds < ROUNDS && stuck < MOST_STUCK; rounds++) {
    const ms = await cancelIn(subject, rounds % STAGES.length);
    if (ms === undefined) stuck++;
    else tookMs.push(ms);
  }
  return { rounds, stuck, limitMs: LIMIT_MS, freeMs: spreadOf(tookMs) };
}

/** Aborts a request in a stage. Answers how long until every place is free; undefined: longer than the limit. */
async function cancelIn({ pipeline }: LocalSubject, stage: number): Promise<number | undefined> {
  const control = new AbortController();
  // It sleeps in any case: this is about a handler that listens.
  const meta: OverloadMeta = { work: 'sleep', ms: STAGES.map((_, i) => (i === stage ? TASK_MS : 0)) };
  const ended = pipeline.run({ meta }, { signal: control.signal, trace: false }).then(
    () => 'answered',
    (error: { code?: string }) => String(error.code),
  );
  const limit = performance.now() + REACHED_MS;
  while (!(await isRunning(pipeline, STAGES[stage]!))) {
    if (performance.now() > limit) throw new Error(`a request has not reached ${STAGES[stage]} in ${REACHED_MS} ms`);
  }
  const begin = performance.now();
  control.abort();
  const how = await ended;
  if (how !== 'RDMA_ERR_ABORTED') throw new Error(`an aborted request has ended as ${how}`);
  for (;;) {
    if (await isFree(pipeline)) return performance.now() - begin;
    if (performance.now() - begin > LIMIT_MS) break;
  }
  // The next round begins with free places, too.
  const end = performance.now() + 2 * TASK_MS;
  while (!(await isFree(pipeline))) {
    if (performance.now() > end) throw new Error(`a place is not free ${2 * TASK_MS} ms after an abort`);
  }
  return undefined;
}

type Pipeline = LocalSubject['pipeline'];

async function isRunning(pipeline: Pipeline, stage: string): Promise<boolean> {
  const { stages } = await pipeline.status();
  return Object.entries(stages).some(([place, { running }]) => place.startsWith(`${stage}/`) && running > 0);
}

async function isFree(pipeline: Pipeline): Promise<boolean> {
  const { gateway, stages } = await pipeline.status();
  const all = Object.values(stages);
  // A place that does not answer is not known to be free.
  if (gateway === undefined || all.length < pipeline.processes.length) return false;
  if (gateway.inFlight + gateway.queued + gateway.open > 0) return false;
  return all.every(({ running, ready, unsent, open }) => running + ready + unsent + open === 0);
}
