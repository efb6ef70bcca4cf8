// How soon a stage that is scaled holds its SLO again after five times as many requests come, relative to the time that
// an instance loads.
//
// Invariant: requests come when they come, whatever becomes of those before them. The SLO holds in a window when 95 %
// of the requests that came in it were in time. It is held again after the last window in which it was not.
import { setTimeout as sleep } from 'node:timers/promises';
import { deploy, undeploy } from '../../cluster/index.js';
import { round3 } from '../kit/statistics.js';
import type { FaultContext } from './faults.js';
import { checkAnswer, nextRequest } from './load.js';
import { SCALED, scaledModule } from './scratch-modules.js';

const STEP = 5;
const IN_TIME = 0.95;
const MOST_INSTANCES = 16;
/** All in load times: a task, what it may take, a window, how long the load is steady and how long it is large. */
const TASK = 1 / 20;
const SLO = 3 / 20;
const WINDOW = 1 / 8;
const STEADY = 12;
const LARGE = 6;
/** Requests in a load time before the step. */
const REQUESTS = 12;

interface Arrival {
  readonly cameMs: number;
  ms: number | undefined; // undefined: not yet, or failed
}

/** Sends requests by chance, and more of them. */
export async function measureStep({ cluster, settings, rows, signal, onStep }: FaultContext): Promise<void> {
  const { loadMs } = settings;
  const sloMs = Math.round(SLO * loadMs);
  await deploy(cluster.control, scaledModule(cluster.folder, { loadMs, sloMs, most: MOST_INSTANCES }));
  const pipeline = await cluster.connect(SCALED);
  const arrivals: Arrival[] = [];
  const requests: Promise<void>[] = [];
  let failed = 0;
  let reason = '';
  const send = async (): Promise<void> => {
    const [n, arrival]: [number, Arrival] = [nextRequest(), { cameMs: performance.now(), ms: undefined }];
    arrivals.push(arrival);
    try {
      const { outputs } = await pipeline.run({ meta: { n, ms: TASK * loadMs } });
      checkAnswer(n, outputs[0]?.meta.n);
      arrival.ms = performance.now() - arrival.cameMs;
    } catch (error) {
      failed++;
      reason ||= `; ${String(error)}`;
    }
  };
  const play = async (forMs: number, gapMs: number): Promise<void> => {
    const endMs = performance.now() + forMs;
    for (let atMs = performance.now(); atMs < endMs; atMs += -Math.log(1 - Math.random()) * gapMs) {
      await sleep(Math.max(0, atMs - performance.now()), undefined, { signal });
      requests.push(send());
    }
  };
  try {
    onStep(`${Math.round((STEADY * loadMs) / 1000)} s of steady load`);
    await play(STEADY * loadMs, loadMs / REQUESTS);
    onStep(`${Math.round((LARGE * loadMs) / 1000)} s of ${STEP} times the load`);
    const stepMs = performance.now();
    await play(LARGE * loadMs, loadMs / REQUESTS / STEP);
    await Promise.all(requests);
    const late = arrivals.map(({ cameMs, ms }) => ({
      atMs: cameMs - stepMs,
      isLate: !(ms !== undefined && ms <= sloMs),
    }));
    const value = round3(heldAgainMs(late, LARGE * loadMs, WINDOW * loadMs) / loadMs);
    const words = `${STEP} times as many requests: the SLO holds again, relative to ${loadMs} ms of an instance's load`;
    rows.add({ test: 'cluster-step', what: words, value, unit: 'ratio' });
    const what = `the same: failed requests, of ${arrivals.length}${reason}`;
    rows.add({ test: 'cluster-step-failed', what, value: failed, unit: 'requests' });
  } finally {
    await Promise.allSettled(requests);
    await pipeline.close();
    await undeploy(cluster.control, SCALED);
  }
}

/**
 * The end of the last window in which too many were late, in ms after the step.
 *
 * @param requests when each came, in ms after the step, and whether it was late or failed
 * @param forMs how long the load was large
 */
export function heldAgainMs(
  requests: readonly { readonly atMs: number; readonly isLate: boolean }[],
  forMs: number,
  windowMs: number,
): number {
  let heldMs = 0;
  for (let fromMs = 0; fromMs < forMs; fromMs += windowMs) {
    const part = requests.filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + windowMs);
    if (part.filter(({ isLate }) => isLate).length > (1 - IN_TIME) * part.length) heldMs = fromMs + windowMs;
  }
  return heldMs;
}
