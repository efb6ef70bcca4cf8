// A plan as one page with charts.
//
// Invariant: the page needs nothing else: no script, no font, no request. Text from traces and profiles is escaped.
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

const escaped = (text: string) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const STYLE = `
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--line:#d8dde3;--bar:#3b6fb6;--other:#9bb4d3;--paper:#fff}
@media(prefers-color-scheme:dark){
:root{--ink:#e6e9ed;--soft:#9aa4b0;--line:#353c45;--bar:#6fa1e6;--other:#3f5b80;--paper:#14171b}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
.lead{font-size:1.15rem}.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
td,th{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
td:first-child,th:first-child,td.t,th.t{text-align:left}th{font-weight:600;color:var(--soft)}
svg{width:100%;min-width:40rem;height:auto;display:block}svg text{fill:var(--ink);font:12px system-ui,sans-serif}
.bar{fill:var(--bar)}.other{fill:var(--other)}.axis{stroke:var(--line)}
.peak{fill:none;stroke:var(--soft);stroke-width:1.5}
.area{fill:var(--bar);opacity:.75}ul{padding-left:1.2rem}`;

/** The page. @param others plans for other kinds of GPU @returns HTML, about 20 KB */
export function planPage(plan: PlanResult, others: readonly PlanResult[]): string {
  const { trace, slo, chosen, gpu, intervals } = plan;
  const title = `${fixed(chosen.gpusMean)} GPUs on average, ${chosen.gpusPeak} at the peak`;
  const spread =
    intervals === undefined
      ? 'There is no interval over seeds.'
      : `On ${intervals.seeds} other seeds ` +
        `${fixed(intervals.gpusMean.low)} to ${fixed(intervals.gpusMean.high)} GPUs, ` +
        `${percent(intervals.inTime.low, 2)} to ${percent(intervals.inTime.high, 2)} in time, ` +
        `at most ${percent(intervals.rejected.high, 2)} refused${missesText(plan)}.`;
  const cost = chosen.costADay === undefined ? '' : ` They cost ${fixed(chosen.costADay, 2)} a day.`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(title)}</title><style>${STYLE}</style></head><body>
<h1>${escaped(title)}</h1>
<p class="lead">${escaped(chosen.fleet)} on ${escaped(gpuText(gpu))}: ${fixed(chosen.gpuHoursADay)} GPU hours a day.${cost}
${chosen.sloMet ? 'The SLO holds.' : '<strong>The SLO does not hold.</strong>'} ${escaped(spread)}</p>
<p class="soft">${trace.requests} requests for ${trace.models} models in ${fixed(trace.hours)} h
(${escaped(trace.name)}); ${escaped(plan.profiles.join(', '))};
${percent(slo.quantile, 2)} within ${fixed(slo.factor, 2)} times the bare time of ${fixed(plan.bareSecondsMean)} s, at most
${percent(slo.maxRejected, 1)} refused.</p>
<h2>Fleets</h2><p class="soft">GPUs of each fleet: the strong bar on average, the pale one at the peak.</p>${fleetChart(plan)}
<div class="wide">${rowsOf(
    ['fleet', 'GPUs', 'p99', 'peak', 'SLO', 'in time', 'refused', 'loads'],
    plan.comparison.map((each) => [
      each.name,
      fixed(each.gpusMean, 2),
      fixed(each.gpusP99, 0),
      fixed(each.gpusPeak, 0),
      each.sloMet ? 'yes' : 'no',
      percent(each.inTime, 2),
      percent(each.rejected, 2),
      String(each.loads),
    ]),
  )}</div>
<h2>What each step contributes</h2><div class="wide">${rowsOf(
    ['step', 'on average', 'at the peak'],
    plan.ratios.map(({ what, mean, peak }) => [what, times(mean), times(peak)]),
  )}</div>
<h2>GPUs over time</h2><p class="soft">By hour: the area is the mean, the line the peak.</p>${timeChart(plan)}
<h2>Instances</h2><div class="wide">${rowsOf(POOL_COLUMNS, poolRows(plan))}</div>
<details><summary>By hour of the day: mean / peak</summary>
<div class="wide">${rowsOf(hourColumns(plan), hourRows(plan))}</div></details>
<h2>How much each input matters</h2>
<p class="soft">GPUs on average relative to the plan, when one input changes.</p>${sensitivityChart(plan)}
<h2>Settings</h2>${listOf([settingsText(plan) ?? 'A fixed fleet has none.', ...defaultsText(plan)])}
<h2>Cluster</h2>${listOf([placedText(plan), delaysText(plan.delays), ...gatewayText(plan.comparison)])}
${others.length === 0 ? '' : `<h2>Other GPUs</h2>${listOf(others.map(otherText))}`}
<h2>Assumed</h2>${listOf(plan.assumed)}
<h2>Not known</h2>${listOf([...trace.notes, ...plan.unknown])}
</body></html>
`;
}

function listOf(lines: readonly string[]): string {
  return `<ul>${lines.map((words) => `<li>${escaped(words)}</li>`).join('')}</ul>`;
}

function rowsOf(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const head = header.map((name) => `<th>${escaped(name)}</th>`).join('');
  const body = rows.map((row) => `<tr>${row.map((cell) => `<td>${escaped(cell)}</td>`).join('')}</tr>`).join('');
  return `<table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`;
}

const WIDTH = 900;
const LEFT = 170;

function chart(height: number, label: string, content: string): string {
  const svg = `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${label}">${content}</svg>`;
  return `<div class="wide">${svg}</div>`;
}

function fleetChart({ comparison }: PlanResult): string {
  const most = Math.max(...comparison.map(({ gpusMean, gpusPeak }) => Math.max(gpusMean, gpusPeak)), 1);
  const scale = (WIDTH - LEFT - 120) / most;
  const bars = comparison.map(({ name, gpusMean, gpusPeak }, i) => {
    const y = 8 + i * 26;
    return (
      `<text x="${LEFT - 8}" y="${y + 14}" text-anchor="end">${escaped(name)}</text>` +
      `<rect class="other" x="${LEFT}" y="${y}" width="${fixed(gpusPeak * scale)}" height="20"/>` +
      `<rect class="bar" x="${LEFT}" y="${y}" width="${fixed(gpusMean * scale)}" height="20"/>` +
      `<text x="${fixed(LEFT + gpusPeak * scale + 6)}" y="${y + 14}">` +
      `${fixed(gpusMean)}, peak ${fixed(gpusPeak, 0)}</text>`
    );
  });
  const height = 16 + comparison.length * 26;
  return chart(height, 'GPUs of each fleet: mean strong, peak pale', bars.join(''));
}

function timeChart({ chosen, comparison }: PlanResult): string {
  const hours = comparison.find(({ name }) => name === chosen.fleet)!.hours;
  const most = Math.max(1, ...hours.map(({ peak }) => peak));
  const [height, left] = [220, 40];
  const x = (i: number) => left + (i * (WIDTH - left - 10)) / hours.length;
  const y = (gpus: number) => height - 24 - (gpus * (height - 40)) / most;
  const steps = (of: (hour: (typeof hours)[number]) => number) =>
    hours.map((hour, i) => `L${fixed(x(i))},${fixed(y(of(hour)))}L${fixed(x(i + 1))},${fixed(y(of(hour)))}`).join('');
  const area = `M${left},${y(0)}${steps(({ mean }) => mean)}L${fixed(x(hours.length))},${y(0)}Z`;
  const peak = `M${left},${fixed(y(hours[0]!.peak))}${steps((hour) => hour.peak)}`;
  const every = Math.max(1, Math.ceil(hours.length / 12));
  const marks = hours.map((_, i) => {
    return i % every === 0 ? `<text x="${fixed(x(i))}" y="${height - 8}">${i} h</text>` : '';
  });
  const levels = [0, 0.5, 1].map((part) => {
    const at = fixed(y(most * part));
    return (
      `<line class="axis" x1="${left}" x2="${WIDTH - 10}" y1="${at}" y2="${at}"/>` +
      `<text x="${left - 6}" y="${Number(at) + 4}" text-anchor="end">${fixed(most * part, 0)}</text>`
    );
  });
  const paths = `<path class="area" d="${area}"/><path class="peak" d="${peak}"/>`;
  return chart(
    height,
    'GPUs held by hour: mean as an area, peak as a line',
    `${levels.join('')}${paths}${marks.join('')}`,
  );
}

function sensitivityChart({ sensitivity }: PlanResult): string {
  const most = Math.max(0.05, ...sensitivity.map(({ ratio }) => Math.abs(ratio - 1)));
  const [middle, scale] = [(WIDTH + LEFT + 60) / 2, (WIDTH - LEFT - 260) / 2 / most];
  const bars = sensitivity.map(({ input, change, ratio, sloMet }, i) => {
    const y = 8 + i * 24;
    const width = Math.abs(ratio - 1) * scale;
    const x = ratio < 1 ? middle - width : middle;
    const label = `${times(ratio)}${sloMet ? '' : ', SLO missed'}`;
    const at = ratio < 1 ? `x="${fixed(x - 6)}" text-anchor="end"` : `x="${fixed(x + width + 6)}"`;
    return (
      `<text x="${LEFT + 40}" y="${y + 14}" text-anchor="end">${escaped(`${input} ${change}`)}</text>` +
      `<rect class="bar" x="${fixed(x)}" y="${y}" width="${fixed(width)}" height="18"/>` +
      `<text ${at} y="${y + 14}">${label}</text>`
    );
  });
  const height = 16 + sensitivity.length * 24;
  const axis = `<line class="axis" x1="${middle}" x2="${middle}" y1="0" y2="${height}"/>`;
  return chart(height, 'GPUs relative to the plan when one input changes', axis + bars.join(''));
}
