// A plan as plain text.
//
// Invariant: everything that the JSON document says of fleets, the plan, its spread and its limits is here too.
import type { Compared, Ratio } from '../sim/fleet/compare.js';
import type { PlanResult } from '../sim/fleet/planning.js';
import { table } from './table.js';

const fixed = (value: number, digits = 1) => value.toFixed(digits);
const percent = (part: number, digits = 1) => `${(100 * part).toFixed(digits)} %`;

/** The fleets and what each step contributes. */
export function comparisonText(comparison: readonly Compared[], ratios: readonly Ratio[]): string {
  const rows = comparison.map((fleet) => [
    fleet.name,
    fixed(fleet.gpusMean, 2),
    fixed(fleet.gpusP99, 0),
    fixed(fleet.gpusPeak, 0),
    fixed(fleet.gpuHours),
    fleet.sloMet ? 'yes' : 'no',
    percent(fleet.inTime, 2),
    `${fixed(fleet.quantileRatio, 2)}x`,
    percent(fleet.rejected, 2),
    String(fleet.loads),
  ]);
  const header = [
    'fleet',
    '>GPUs',
    '>p99',
    '>peak',
    '>GPU hours',
    'SLO',
    '>in time',
    '>quantile',
    '>refused',
    '>loads',
  ];
  const steps = ratios.map(({ what, from, to, mean, peak }) => [
    what,
    `${from} / ${to}`,
    `${fixed(mean, 2)}x`,
    `${fixed(peak, 2)}x`,
  ]);
  const chain =
    steps.length === 0 ? '' : `\n${table(['what it contributes', 'fleets', '>on average', '>at the peak'], steps)}\n`;
  return `${table(header, rows)}\n${chain}`;
}

/** The whole plan. @param others plans for other kinds of GPU */
export function planText(plan: PlanResult, others: readonly PlanResult[]): string {
  const { trace, slo, chosen, intervals, gpu } = plan;
  const lines = [
    `${trace.name}: ${trace.requests} requests for ${trace.models} models in ${fixed(trace.hours)} h; ${plan.profiles.join(', ')} on ${gpu.kind}`,
    `SLO: ${percent(slo.quantile, 2)} within ${fixed(slo.factor, 2)} times the bare time (${fixed(plan.bareSecondsMean)} s), at most ${percent(slo.maxRejected)} refused`,
    '',
    comparisonText(plan.comparison, plan.ratios),
    `Plan: ${chosen.fleet}, ${fixed(chosen.gpusMean, 2)} GPUs on average, ${chosen.gpusPeak} at the peak, ${fixed(chosen.gpuHoursADay)} GPU hours a day${
      chosen.costADay === undefined ? '' : `, ${fixed(chosen.costADay, 2)} a day`
    }; ${chosen.sloMet ? 'the SLO holds' : 'THE SLO DOES NOT HOLD'}`,
    ...(chosen.settings === undefined
      ? []
      : [
          `Settings: ${Object.entries(chosen.settings)
            .map(([name, value]) => `${name} ${value}`)
            .join(', ')}`,
        ]),
    ...(plan.withDefaults === undefined
      ? []
      : [
          `With the shipped defaults: ${fixed(plan.withDefaults.gpusMean, 2)} GPUs, ${percent(plan.withDefaults.inTime, 2)} in time`,
        ]),
    ...(intervals === undefined
      ? []
      : [
          `On ${intervals.seeds} other seeds: ${fixed(intervals.gpusMean.low, 2)} to ${fixed(intervals.gpusMean.high, 2)} GPUs, ` +
            `peak ${intervals.gpusPeak.low} to ${intervals.gpusPeak.high}, ` +
            `${percent(intervals.inTime.low, 2)} to ${percent(intervals.inTime.high, 2)} in time`,
        ]),
    '',
    table(
      ['pool', '>GPUs each', '>on average', '>at the peak', '>GB needed', '>GB there'],
      chosen.pools
        .slice(0, 40)
        .map((pool) => [
          pool.name,
          String(pool.gpusEach),
          fixed(pool.instancesMean, 2),
          fixed(pool.instancesPeak, 0),
          fixed(pool.memoryGB),
          fixed(gpu.memoryGB),
        ]),
    ),
    '',
    hoursText(plan),
    '',
    table(
      ['what if', 'change', '>GPUs', '>relative', '>in time', 'SLO'],
      plan.sensitivity.map(({ input, change, gpusMean, ratio, inTime, sloMet }) => [
        input,
        change,
        fixed(gpusMean, 2),
        `${fixed(ratio, 2)}x`,
        percent(inTime, 2),
        sloMet ? 'yes' : 'no',
      ]),
    ),
    '',
    `Placed: ${plan.placement.placed} instances of the peak on ${plan.placement.nodes} nodes of 8 GPUs${
      plan.placement.unplaced.length === 0 ? '' : `; ${plan.placement.unplaced.join('; ')}`
    }`,
    ...others.map(({ gpu: other, chosen: its }) => {
      const cost = its.costADay === undefined ? '' : `, ${fixed(its.costADay, 2)} a day`;
      return `On ${other.kind}: ${its.fleet}, ${fixed(its.gpusMean, 2)} GPUs on average${cost}`;
    }),
    ...trace.notes.map((words) => `Note: ${words}`),
    ...plan.assumed.map((words) => `Assumed: ${words}`),
    ...plan.unknown.map((words) => `Not known: ${words}`),
  ];
  return `${lines.join('\n')}\n`;
}

// Peak instances of each pool by hour of the day, over all days.
function hoursText({ chosen }: PlanResult): string {
  const pools = chosen.pools.slice(0, 6);
  const hours = Math.min(24, Math.max(0, ...pools.map(({ byHour }) => byHour.length)));
  const rows = Array.from({ length: hours }, (_, hour) => [
    String(hour),
    ...pools.map(({ byHour }) => {
      const same = byHour.filter((_each, i) => i % 24 === hour);
      const mean = same.reduce((sum, each) => sum + each.mean, 0) / same.length;
      return `${fixed(mean)} / ${fixed(Math.max(...same.map(({ peak }) => peak)), 0)}`;
    }),
  ]);
  return table(['>hour', ...pools.map(({ name }) => `>${name}`)], rows);
}
