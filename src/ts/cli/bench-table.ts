// The tables of the verbs benchmarks: perftest's columns, with their names and units.
//
// Invariant: the columns and their order are perftest's; a figure that was not measured is `-`.
import type { Comparison } from '../bench/verbs/peer.js';
import type { VerbsResult } from '../bench/verbs/result.js';
import { isLatency } from '../bench/verbs/settings.js';
import { table } from './table.js';

const LATENCY = [
  '#bytes',
  '#iterations',
  't_min[usec]',
  't_max[usec]',
  't_typical[usec]',
  't_avg[usec]',
  't_stdev[usec]',
  '99% percentile[usec]',
  '99.9% percentile[usec]',
];
const BANDWIDTH = ['#bytes', '#iterations', 'BW peak[MB/sec]', 'BW average[MB/sec]', 'MsgRate[Mpps]'];
const right = (names: readonly string[]) => names.map((name) => `>${name}`);
const figure = (value: number | null, decimals = 2) => (value === null ? '-' : value.toFixed(decimals));

function cells(result: VerbsResult): string[] {
  const head = [String(result.sizeBytes), String(result.iterations)];
  if (isLatency(result.test as never)) {
    const { min, max, p50, avg, stdev, p99, p999 } = result.latencyUs;
    return [...head, ...[min, max, p50, avg, stdev, p99, p999].map((value) => figure(value))];
  }
  const { peakMbPerSecond, averageMbPerSecond } = result.bandwidth;
  const millions = result.messagesPerSecond === null ? null : result.messagesPerSecond / 1e6;
  return [...head, figure(peakMbPerSecond), figure(averageMbPerSecond), figure(millions, 6)];
}

const columnsOf = (results: readonly VerbsResult[]) => (isLatency(results[0]?.test as never) ? LATENCY : BANDWIDTH);

/** One row for each result, and the samples below when they were asked for. */
export function resultsText(results: readonly VerbsResult[], headline: string): string {
  const lines = [headline, table(right(columnsOf(results)), results.map(cells))];
  for (const { sizeBytes, histogram } of results) {
    if (histogram !== null)
      lines.push('', `samples of ${sizeBytes} bytes [usec]`, ...histogram.map((us) => us.toFixed(3)));
  }
  return `${lines.join('\n')}\n`;
}

/** Two rows for each size, ours first, and what one is to the other. */
export function comparisonText(
  results: readonly VerbsResult[],
  comparisons: readonly Comparison[],
  headline: string,
): string {
  const header = ['', ...right(columnsOf(results))];
  const rows = results.map((result) => [result.peer === null ? 'onepiece' : result.peer, ...cells(result)]);
  const ratios = comparisons.map(({ sizeBytes, ours, theirs, unit, ratio, rounds }) => {
    const better = unit === 'us' ? 'less is better' : 'more is better';
    return `${sizeBytes} bytes: ${figure(ours)} ${unit} to ${figure(theirs)} ${unit}, ratio ${figure(ratio, 3)} (${better}; medians of ${rounds} rounds in turn)`;
  });
  return `${headline}\n${table(header, rows)}\n${ratios.join('\n')}\n`;
}
