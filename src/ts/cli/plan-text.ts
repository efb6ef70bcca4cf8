// A plan as plain text.
//
// Invariant: the text shows everything that the JSON document says about fleets, the plan, its spread and its limits.
import type { Compared } from '../planner/fleet/compared.js';
import type { Ratio } from '../planner/fleet/ratios.js';
import type { PlanResult } from '../planner/fleet/plan.js';
import {
  defaultsText,
  delaysText,
  fixed,
  gatewayText,
  gpuText,
  hourColumns,
  hourRows,
  missesText,
  otherText,
  percent,
  placedText,
  POOL_COLUMNS,
  poolRows,
  settingsText,
  times,
} from './plan-words.js';
import { table } from './table.js';

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
    times(fleet.quantileRatio),
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
  const steps = ratios.map(({ what, from, to, mean, peak }) => [what, `${from} / ${to}`, times(mean), times(peak)]);
  const chain =
    steps.length === 0 ? '' : `\n${table(['what it contributes', 'fleets', '>on average', '>at the peak'], steps)}\n`;
  return `${table(header, rows)}\n${chain}`;
}

/** Longer lists of pools are cut in the text; the page and the document have all. */
const MAX_POOLS = 40;

/** The whole plan. @param others plans for other kinds of GPU */
export function planText(plan: PlanResult, others: readonly PlanResult[]): string {
  const { trace, slo, chosen, intervals, gpu } = plan;
  const settings = settingsText(plan);
  const cost = chosen.costADay === undefined ? '' : `, ${fixed(chosen.costADay, 2)} a day`;
  const lines = [
    `${trace.name}: ${trace.requests} requests for ${trace.models} models in ${fixed(trace.hours)} h; ` +
      `${plan.profiles.join(', ')} on ${gpuText(gpu)}`,
    `SLO: ${percent(slo.quantile, 2)} within ${fixed(slo.factor, 2)} times the bare time ` +
      `(${fixed(plan.bareSecondsMean)} s), at most ${percent(slo.maxRejected, 1)} refused`,
    '',
    comparisonText(plan.comparison, plan.ratios),
    `Plan: ${chosen.fleet}, ${fixed(chosen.gpusMean, 2)} GPUs on average, ${chosen.gpusPeak} at the peak, ` +
      `${fixed(chosen.gpuHoursADay)} GPU hours a day${cost}; ` +
      (chosen.sloMet ? 'the SLO holds' : 'THE SLO DOES NOT HOLD'),
    ...(settings === undefined ? [] : [`Settings: ${settings}`]),
    ...defaultsText(plan),
    ...(intervals === undefined
      ? []
      : [
          `On ${intervals.seeds} other seeds: ` +
            `${fixed(intervals.gpusMean.low, 2)} to ${fixed(intervals.gpusMean.high, 2)} GPUs, ` +
            `peak ${intervals.gpusPeak.low} to ${intervals.gpusPeak.high}, ` +
            `${percent(intervals.inTime.low, 2)} to ${percent(intervals.inTime.high, 2)} in time, ` +
            `at most ${percent(intervals.rejected.high, 2)} refused${missesText(plan)}`,
        ]),
    '',
    table(
      POOL_COLUMNS.map((name, i) => (i === 0 ? name : `>${name}`)),
      poolRows(plan).slice(0, MAX_POOLS),
    ),
    '',
    table(
      hourColumns(plan).map((name) => `>${name}`),
      hourRows(plan),
    ),
    '',
    table(
      ['what if', 'change', '>GPUs', '>relative', '>in time', 'SLO'],
      plan.sensitivity.map(({ input, change, gpusMean, ratio, inTime, sloMet }) => [
        input,
        change,
        fixed(gpusMean, 2),
        times(ratio),
        percent(inTime, 2),
        sloMet ? 'yes' : 'no',
      ]),
    ),
    '',
    placedText(plan),
    ...others.map(otherText),
    delaysText(plan.delays),
    ...gatewayText(plan.comparison),
    ...trace.notes.map((words) => `Note: ${words}`),
    ...plan.assumed.map((words) => `Assumed: ${words}`),
    ...plan.unknown.map((words) => `Not known: ${words}`),
  ];
  return `${lines.join('\n')}\n`;
}
