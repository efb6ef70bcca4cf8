// The tables of the overload benchmark.
//
// Invariant: a figure that was not measured is `-`; every other one was measured in this run.
import type {
  CancelResult,
  HungResult,
  LoadResult,
  OverloadDocument,
  RetryResult,
  TenantsResult,
} from '../bench/overload/result.js';
import { table } from './table.js';

const ms = (value: number | null) => (value === null ? '-' : value.toFixed(value < 10 ? 2 : 0));
const percent = (value: number | null) => {
  if (value === null) return '-';
  const whole = value * 100;
  return `${whole.toFixed(whole < 10 || whole > 90 ? 1 : 0)} %`;
};
const times = (value: number | null) => (value === null ? '-' : `${value.toFixed(2)}x`);

const loadColumns: [name: string, cell: (result: LoadResult) => string][] = [
  ['>OFFERED', (r) => `${r.factor}x`],
  ['WHO', (r) => r.peer ?? 'onepiece'],
  ['>GOODPUT', (r) => percent(r.goodput)],
  ['>LATE', (r) => percent(r.lateShare)],
  ['>REFUSED', (r) => percent(r.refusedShare)],
  ['>REFUSAL p50 ms', (r) => ms(r.rejectP50Ms)],
  ['>p99', (r) => ms(r.rejectP99Ms)],
  ['>ANSWER p50 ms', (r) => ms(r.latencyP50Ms)],
  ['>p99', (r) => ms(r.latencyP99Ms)],
  ['>PREDICTED OFF BY', (r) => percent(r.predictionError)],
  ['>LAG p99 ms', (r) => ms(r.lagP99Ms)],
];

type Row = [what: string, figure: string];

function retryRows(r: RetryResult): Row[] {
  return [
    ['refused in a burst', String(r.refused)],
    ['of these told when to come again', percent(r.toldShare)],
    ['of these admitted then', percent(r.firstRetryShare)],
    ['of these answered in time', percent(r.answeredShare)],
    ['told to wait, p50 and p99', `${ms(r.retryAfterP50Ms)}, ${ms(r.retryAfterP99Ms)} ms`],
  ];
}

function cancelRows(r: CancelResult): Row[] {
  const figure = r.stuck > 0 ? `longer than ${r.limitMs} ms` : `${ms(r.freeP50Ms)}, ${ms(r.freeP99Ms)} ms`;
  return [['from an abort until all places are free, p50 and p99', figure]];
}

function hungRows(r: HungResult): Row[] {
  return [[`kept, a second after one of ${r.instances} instances stopped`, percent(r.keptShare)]];
}

function tenantsRows(r: TenantsResult): Row[] {
  return [
    ['p99 of a steady tenant alone, and beside one at 10x', `${ms(r.aloneP99Ms)}, ${ms(r.besideP99Ms)} ms`],
    ['the second by the first', times(r.ratio)],
    ['of its requests answered in time; refused', `${percent(r.steadyInTimeShare)}; ${percent(r.steadyRefusedShare)}`],
  ];
}

/** The capacity, a table of loads, and a list of what else was measured. */
export function overloadText({ capacityPerSecond, settings, results }: OverloadDocument): string {
  const { work, serviceMs, instances, concurrency, deadlineMs } = settings;
  const what = `3 stages of ${instances} instances with ${concurrency} tasks, ${work} ${serviceMs} ms`;
  const parts = [`capacity ${capacityPerSecond.toFixed(1)} requests/s (${what}); deadline ${deadlineMs} ms`];
  const loads = results.filter((r): r is LoadResult => r.test === 'overload');
  if (loads.length > 0) {
    const header = loadColumns.map(([name]) => name);
    const rows = loads.map((result) => loadColumns.map(([, cell]) => cell(result)));
    parts.push(table(header, rows));
  }
  const others = results.flatMap((result): Row[] => {
    if (result.test === 'overload-retry') return retryRows(result);
    if (result.test === 'overload-cancel') return cancelRows(result);
    if (result.test === 'overload-hung') return hungRows(result);
    return result.test === 'overload-tenants' ? tenantsRows(result) : [];
  });
  if (others.length > 0) parts.push(table(['WHAT', '>FIGURE'], others));
  return `${parts.join('\n\n')}\n`;
}
