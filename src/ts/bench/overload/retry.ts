// Clients that are refused in a burst, and come again when the refusal says.
//
// Invariant: each refused client waits exactly its retryAfterMs and then tries once more, with a full deadline. The
// burst ends and a light load goes on: as long as the load exceeds the capacity, no retryAfterMs could let everybody
// in.
import { setTimeout as sleep } from 'node:timers/promises';
import { spreadOf } from '../kit/statistics.js';
import { merged, poisson } from './arrivals.js';
import { offer } from './generator.js';
import type { RetryMeasured } from './measured.js';
import type { OverloadSettings } from './settings.js';
import type { OverloadSubject } from './subject.js';

/** In capacities: what goes on all the time, and what comes beside it for a while. */
const LIGHT = 0.5;
const BURST = 2.5;
/** A client whose refusal asks for a longer wait counts as not admitted. */
const MOST_MS = 15_000;

export async function retries(
  subject: OverloadSubject,
  settings: OverloadSettings,
  capacityPerSecond: number,
): Promise<RetryMeasured> {
  const { seed, deadlineMs } = settings;
  // A burst of two deadlines: long enough to fill every queue.
  const fromMs = deadlineMs;
  const toMs = fromMs + 2 * deadlineMs;
  const endMs = toMs + MOST_MS;
  const arrivals = merged(
    poisson(capacityPerSecond * LIGHT, 0, endMs, [seed, 3]),
    poisson(capacityPerSecond * BURST, fromMs, toMs, [seed, 4]),
  );
  const waitsMs: number[] = [];
  let [refused, told, admitted, inTime] = [0, 0, 0, 0];
  await offer({
    subject,
    settings,
    arrivals,
    onEnded: (record, send) => {
      if (record.isAgain || record.end !== 'refused') return undefined;
      refused++;
      const { retryAfterMs } = record;
      if (retryAfterMs === undefined) return undefined;
      told++;
      waitsMs.push(retryAfterMs);
      if (retryAfterMs > MOST_MS) return undefined;
      return sleep(retryAfterMs).then(async () => {
        const { end } = await send();
        if (end !== 'refused') admitted++;
        if (end === 'answered') inTime++;
      });
    },
  });
  return { refused, told, admitted, inTime, retryAfterMs: spreadOf(waitsMs) };
}
