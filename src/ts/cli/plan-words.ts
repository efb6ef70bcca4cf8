// Tables and formats that the text and the page of a plan share.
//
// Invariant: both show the same pools and settings, in the same words.
import type { Compared } from '../planner/fleet/compared.js';
import type { GpuKind } from '../planner/profiles/costs.js';
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

/** More pools than these are not shown by hour; the JSON document has all. */
const HOUR_POOLS = 6;

/** Columns of {@link hourRows}. */
export function hourColumns({ chosen }: PlanResult): string[] {
  return ['hour', ...chosen.pools.slice(0, HOUR_POOLS).map(({ name }) => name)];
}

/** Instances of each pool by hour of the day, mean and peak over all days. */
export function hourRows({ chosen }: PlanResult): string[][] {
  const pools = chosen.pools.slice(0, HOUR_POOLS);
  const hours = Math.min(24, Math.max(0, ...pools.map(({ byHour }) => byHour.length)));
  return Array.from({ length: hours }, (_, hour) => [
    String(hour),
    ...pools.map(({ byHour }) => {
      const same = byHour.filter((_each, i) => i % 24 === hour);
      const mean = same.reduce((sum, each) => sum + each.mean, 0) / same.length;
      return `${fixed(mean)} / ${fixed(Math.max(...same.map(({ peak }) => peak)), 0)}`;
    }),
  ]);
}

/** How the instances of the peak are placed, in one line. */
export function placedText({ placement }: PlanResult): string {
  const { placed, nodes, unplaced } = placement;
  return [`Placed: ${placed} instances of the peak on ${nodes} nodes of 8 GPUs`, ...unplaced].join('; ');
}

/** The same fleet with the settings as shipped, in one line; none for a fixed one. */
export function defaultsText({ withDefaults }: PlanResult): string[] {
  if (withDefaults === undefined) return [];
  const { gpusMean, inTime } = withDefaults;
  return [`With the shipped defaults: ${fixed(gpusMean, 2)} GPUs, ${percent(inTime, 2)} in time`];
}

/** Whether the SLO is missed on some of the other seeds, as the end of a sentence. */
export function missesText({ intervals, slo }: PlanResult): string {
  const misses =
    intervals !== undefined && (intervals.inTime.low < slo.quantile || intervals.rejected.high > slo.maxRejected);
  return misses ? '; THE SLO DOES NOT HOLD ON ALL OF THEM' : '';
}

/** The plan for another kind of GPU, in one line. */
export function otherText({ gpu, chosen }: PlanResult): string {
  const cost = chosen.costADay === undefined ? '' : `, ${fixed(chosen.costADay, 2)} a day`;
  const misses = chosen.sloMet ? '' : '; THE SLO DOES NOT HOLD';
  return `On ${gpuText(gpu)}: ${chosen.fleet}, ${fixed(chosen.gpusMean, 2)} GPUs on average${cost}${misses}`;
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

/** A kind of GPU with its memory, and the price where it is known. */
export function gpuText({ kind, memoryGB, price }: GpuKind): string {
  return `${kind} of ${memoryGB} GB${price === undefined ? '' : ` at ${price} an hour`}`;
}

/** A ratio such as `1.25x`; `-` where there is none, as of nothing over nothing. */
export function times(ratio: number, digits = 2): string {
  return Number.isFinite(ratio) ? `${fixed(ratio, digits)}x` : '-';
}

/** Which fleets have one gateway, in one line; none of the bound alone. */
export function gatewayText(comparison: readonly Compared[]): string[] {
  const fleets = comparison.filter(({ name }) => name !== 'bound');
  const names = (has: boolean) => fleets.filter(({ hasGateway }) => hasGateway === has).map(({ name }) => name);
  const [behind, apart] = [names(true).join(', '), names(false).join(', ')];
  const parts = [
    ...(behind === '' ? [] : [`one before all stages of ${behind}`]),
    ...(apart === '' ? [] : [`a queue for each pool of ${apart}`]),
  ];
  return parts.length === 0 ? [] : [`Gateway: ${parts.join('; ')}`];
}
