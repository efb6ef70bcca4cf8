// Tables and formats that the text and the page of a plan share.
//
// Invariant: both show the same pools and settings, in the same words.
import type { Compared } from '../planner/fleet/compared.js';
import type { ClusterDelays } from '../planner/fleet/fleet.js';
import type { PlanResult } from '../planner/fleet/plan.js';

export const fixed = (value: number, digits = 1) => value.toFixed(digits);
export const percent = (part: number, digits: number) => `${(100 * part).toFixed(digits)} %`;

/** Columns of {@link poolRows}. */
export const POOL_COLUMNS = ['pool', 'GPUs each', 'on average', 'at the peak', 'GB needed', 'GB there'] as const;

/** A row for each pool of a plan. */
export function poolRows({ chosen, gpu }: PlanResult): string[][] {
  return chosen.pools.map((pool) => [
    pool.name,
    String(pool.gpusEach),
    fixed(pool.instancesMean, 2),
    fixed(pool.instancesPeak, 0),
    fixed(pool.memoryGB),
    fixed(gpu.memoryGB),
  ]);
}

/** The settings of a plan in one line; undefined: a fixed fleet has none. */
export function settingsText({ chosen }: PlanResult): string | undefined {
  if (chosen.settings === undefined) return undefined;
  const list = Object.entries(chosen.settings);
  return list.map(([name, value]) => `${name} ${value}`).join(', ');
}

/** What a cluster takes to carry out a decision, in one line. */
export function delaysText(delays: ClusterDelays | null): string {
  if (delays === null) return 'Delays: none; decisions take effect at once, which no cluster can do';
  const { processS, reportS, tickS } = delays;
  return (
    `Delays: a process takes ${processS} s before it loads, the controller knows what was ${reportS} s ago and ` +
    `decides every ${tickS} s, and a change of plan waits for the requests before it`
  );
}

/** Which fleets have one gateway, in one line. */
export function gatewayText(comparison: readonly Compared[]): string {
  const fleets = comparison.filter(({ name }) => name !== 'bound');
  const names = (has: boolean) => fleets.filter(({ hasGateway }) => hasGateway === has).map(({ name }) => name);
  const [behind, apart] = [names(true).join(', '), names(false).join(', ')];
  const parts = [
    ...(behind === '' ? [] : [`one before all stages of ${behind}`]),
    ...(apart === '' ? [] : [`a queue for each pool of ${apart}`]),
  ];
  return `Gateway: ${parts.join('; ')}`;
}
