// More is offered than there is capacity for, to ours and to peers.
//
// Invariant: a steady state is measured: requests of the warm-up are waited for, but not counted.
import { round3 } from '../kit/statistics.js';
import { merged, poisson } from './arrivals.js';
import { offer, saturate } from './generator.js';
import type { LoadMeasured, TenantsMeasured } from './measured.js';
import { type OverloadSettings, slotsOf, STAGES } from './settings.js';
import type { OverloadSubject } from './subject.js';
import { tally } from './tally.js';

/** Everybody has done some work before anything is measured: code is compiled, and costs are learned. */
export const WARM_UP_MS = 2000;
/** The overload lasts for so many deadlines before it is counted: by then a queue that can fill is full. */
const DEADLINES = 2;

/** The warm-up: a client for each task that can run at a time, so that nobody is refused. */
export async function warmUp(subject: OverloadSubject, settings: OverloadSettings): Promise<void> {
  await saturate(subject, settings, STAGES.length * slotsOf(settings), 0, WARM_UP_MS / 1000);
}

/** So many ms of load are not counted. */
export function settleMs({ deadlineMs }: OverloadSettings): number {
  return DEADLINES * deadlineMs;
}

/**
 * Offers `factor` times the capacity.
 *
 * @param capacityPerSecond 100 %
 * @throws as offer()
 */
export async function overload(
  subject: OverloadSubject,
  settings: OverloadSettings,
  capacityPerSecond: number,
  factor: number,
): Promise<LoadMeasured> {
  const { seconds, deadlineMs, seed } = settings;
  const fromMs = settleMs(settings);
  const toMs = fromMs + seconds * 1000;
  const arrivals = poisson(capacityPerSecond * factor, 0, toMs, [seed, Math.round(factor * 1000)]);
  const records = await offer({ subject, settings, arrivals });
  const counted = tally(records, deadlineMs, fromMs, toMs);
  return { tally: counted, offeredPerSecond: round3(counted.offered / seconds) };
}

/** What the steady tenant offers, and the other one, in capacities. */
const STEADY = 0.2;
const FLOOD = 10;

/** One tenant offers a fifth of the capacity, alone at first and then beside one that offers ten times the capacity. */
export async function twoTenants(
  subject: OverloadSubject,
  settings: OverloadSettings,
  capacityPerSecond: number,
): Promise<TenantsMeasured> {
  const { seconds, deadlineMs, seed } = settings;
  const fromMs = settleMs(settings);
  const toMs = fromMs + seconds * 1000;
  const steady = () => poisson(capacityPerSecond * STEADY, 0, toMs, [seed, 1], 'steady');
  const flood = () => poisson(capacityPerSecond * FLOOD, 0, toMs, [seed, 2], 'flood');
  const alone = await offer({ subject, settings, arrivals: steady() });
  const both = await offer({ subject, settings, arrivals: merged(steady(), flood()) });
  const of = (tenant: string) => both.filter((record) => record.tenant === tenant);
  return {
    alone: tally(alone, deadlineMs, fromMs, toMs),
    beside: tally(of('steady'), deadlineMs, fromMs, toMs),
    flood: tally(of('flood'), deadlineMs, fromMs, toMs),
  };
}
