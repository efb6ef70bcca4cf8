// Requests from outside: in an open loop at the moments at which they are due, or in a closed loop of clients.
//
// Invariant: in the open loop nobody waits for anybody: whether or not earlier requests have ended, each is sent when
// it is due, as exactly as the event loop allows; how late it was is recorded.
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { RdmaError } from '../../core/errors.js';
import { type Arrival, serviceTimes } from './arrivals.js';
import type { OverloadSettings } from './settings.js';
import type { Outcome, OverloadSubject } from './subject.js';
import type { CallRecord } from './tally.js';

/** Timers are this exact; what is left until a request is due is waited for by turns of the event loop. */
const TIMER_MS = 2;
/** When the generator is behind, the event loop gets a turn after so many requests. */
const AT_ONCE = 32;
const nobody = { tenant: undefined, retryToken: undefined };
/** Before a client of the closed loop that was refused comes again. */
const REFUSED_MS = 10;
/** What has not ended so long after its deadline never does. */
const END_MS = 15_000;

export interface Offer {
  subject: OverloadSubject;
  settings: OverloadSettings;
  arrivals: Iterator<Arrival>;
  /** Called with each request as it ends; `again` sends it once more, at once. What it answers is waited for. */
  onEnded?: (record: CallRecord, again: () => Promise<Outcome>) => Promise<void> | undefined;
  /** Called before each look at the clock, with the time since the begin. */
  onTime?: (nowMs: number) => void;
}

/**
 * Sends requests until there are no more arrivals, and waits until all have ended.
 *
 * @returns what became of each, in the order in which they ended
 * @throws RdmaError RDMA_ERR_TIMEOUT when requests have not ended long after their deadlines
 */
export async function offer({ subject, settings, arrivals, onEnded, onTime }: Offer): Promise<CallRecord[]> {
  const { seed, serviceMs, deadlineMs } = settings;
  const records: CallRecord[] = [];
  const begin = performance.now();
  const now = () => performance.now() - begin;
  let number = 0;
  let open = 0;
  let wake: (() => void) | undefined;

  const close = () => {
    open--;
    if (open === 0) wake?.();
  };
  const send = async (dueMs: number, tenant: string | undefined, again: CallRecord | undefined): Promise<Outcome> => {
    open++;
    const sentMs = now();
    const call = {
      serviceMs: serviceTimes(seed, number++, serviceMs),
      remainingMs: dueMs + deadlineMs - sentMs,
      tenant,
      retryToken: again?.retryToken,
    };
    const outcome = await subject.call(call);
    const { end, retryAfterMs, retryToken, predictedMs, words } = outcome;
    const said = { retryAfterMs, retryToken, predictedMs, words };
    const record = { dueMs, sentMs, endedMs: now(), end, tenant, isAgain: again !== undefined, ...said };
    records.push(record);
    const more = onEnded?.(record, () => send(now(), tenant, record));
    if (more === undefined) close();
    else void more.finally(close);
    return outcome;
  };

  let atOnce = 0;
  for (let next = arrivals.next(); !next.done; ) {
    const nowMs = now();
    onTime?.(nowMs);
    const { atMs, tenant } = next.value;
    if (atMs > nowMs || atOnce >= AT_ONCE) {
      atOnce = 0;
      if (atMs - nowMs > TIMER_MS) await sleep(Math.floor(atMs - nowMs - TIMER_MS / 2));
      else await turn();
      continue;
    }
    atOnce++;
    void send(atMs, tenant, undefined);
    next = arrivals.next();
  }

  const end = performance.now() + deadlineMs + END_MS;
  while (open > 0) {
    if (performance.now() > end) {
      throw new RdmaError(
        'RDMA_ERR_TIMEOUT',
        `${open} requests have not ended ${END_MS / 1000} s after their deadline`,
      );
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 100);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  return records;
}

/**
 * Runs a closed loop: each client sends its next request when its last one has ended, without a deadline. A client
 * that is refused retries a little later.
 *
 * @param warmUpMs before it is counted
 * @returns answers in a second
 * @throws RdmaError RDMA_ERR_STAGE_FAILED when a request ends without a result; RDMA_ERR_TIMEOUT when none is answered
 */
export async function saturate(
  subject: OverloadSubject,
  settings: OverloadSettings,
  clients: number,
  warmUpMs: number,
  seconds: number,
): Promise<number> {
  const { seed, serviceMs } = settings;
  const begin = performance.now();
  const fromMs = warmUpMs;
  const toMs = warmUpMs + seconds * 1000;
  let number = 0;
  let counted = 0;
  const client = async () => {
    for (;;) {
      if (performance.now() - begin >= toMs) return;
      const times = serviceTimes(seed, number++, serviceMs);
      const { end, words } = await subject.call({ serviceMs: times, remainingMs: undefined, ...nobody });
      if (end === 'refused') {
        await sleep(REFUSED_MS);
        continue;
      }
      if (end !== 'answered') {
        const why = words ?? end;
        throw new RdmaError('RDMA_ERR_STAGE_FAILED', `a request of the closed loop ended badly: ${why}`);
      }
      const nowMs = performance.now() - begin;
      if (nowMs >= fromMs && nowMs < toMs) counted++;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  if (counted === 0) throw new RdmaError('RDMA_ERR_TIMEOUT', `no request was answered within ${seconds} s`);
  return counted / seconds;
}
