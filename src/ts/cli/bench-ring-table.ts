// The tables of the ring benchmarks.
//
// Invariant: a figure that was not measured is `-`; a ratio says how many times better ours is, whatever the figure.
import type { RingComparison, RingResult } from '../bench/ring/result.js';
import type { RingTest } from '../bench/ring/settings.js';
import { bytes, table } from './table.js';

const us = (value: number | null) => (value === null ? '-' : value.toFixed(value < 100 ? 2 : 0));
const count = (value: number | null) => (value === null ? '-' : String(value));
const millions = (value: number | null) => (value === null ? '-' : (value / 1e6).toFixed(value < 1e5 ? 4 : 2));
const fixed = (value: number | null, decimals: number) => (value === null ? '-' : value.toFixed(decimals));
const times = (value: number | null | undefined) =>
  value === null || value === undefined ? '-' : `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)}x`;

type Column = [name: string, cell: (result: RingResult) => string];
type RatioName = Exclude<keyof RingComparison, 'test' | 'sizeBytes' | 'producers' | 'way' | 'peer'>;

const latencyColumns: Column[] = [
  ['>SAMPLES', (r) => count(r.iterations)],
  ['>p50 us', (r) => us(r.latencyUs.p50)],
  ['>p99', (r) => us(r.latencyUs.p99)],
  ['>p99.9', (r) => us(r.latencyUs.p999)],
  ['>max', (r) => us(r.latencyUs.max)],
  ['>COPIED p50 us', (r) => us(r.copiedUs.p50)],
  ['>READ p50 us', (r) => us(r.touchedUs.p50)],
  ['>p99', (r) => us(r.touchedUs.p99)],
];
const rateColumn: Column = ['>MILLION/s', (r) => millions(r.messagesPerSecond)];
const columns: Record<RingTest, Column[]> = {
  'ring-lat': latencyColumns,
  'ring-bw': [
    ['>MESSAGES', (r) => count(r.iterations)],
    ['>GB/s', (r) => fixed(r.gigabytesPerSecond, 2)],
    ['>READ GB/s', (r) => fixed(r.touchedGigabytesPerSecond, 2)],
  ],
  'ring-rate': [['>MESSAGES', (r) => count(r.iterations)], rateColumn],
  'ring-fan-in': [
    ['>PRODUCERS', (r) => count(r.producers)],
    ['>MESSAGES', (r) => count(r.iterations)],
    rateColumn,
    ['>TO ONE', (r) => fixed(r.toOneProducer, 2)],
    ['>SLOWEST/s', (r) => count(lowest(r.producerMessagesPerSecond))],
    ['>FASTEST/s', (r) => count(highest(r.producerMessagesPerSecond))],
    ['>JAIN', (r) => fixed(r.jainFairness, 3)],
  ],
};
const ratios: Record<RingTest, [RatioName, string][]> = {
  'ring-lat': [
    ['latencyRatio', ''],
    ['copiedRatio', ' COPIED'],
    ['touchedRatio', ' READ'],
  ],
  'ring-bw': [
    ['gigabytesPerSecondRatio', ''],
    ['touchedGigabytesPerSecondRatio', ' READ'],
  ],
  'ring-rate': [['messagesPerSecondRatio', '']],
  'ring-fan-in': [['messagesPerSecondRatio', '']],
};

const lowest = (rates: number[] | null) => (rates === null ? null : Math.min(...rates));
const highest = (rates: number[] | null) => (rates === null ? null : Math.max(...rates));

/** A table for each test among the results; with peers, how many times better ours is than each. */
export function ringText(results: readonly RingResult[], comparisons: readonly RingComparison[]): string {
  const tests = [...new Set(results.map(({ test }) => test))];
  return tests.map((test) => oneTest(test, results, comparisons)).join('\n');
}

function oneTest(test: RingTest, all: readonly RingResult[], comparisons: readonly RingComparison[]): string {
  const results = all.filter((result) => result.test === test);
  const ways = [...new Set(results.map(({ way }) => way))].filter((way) => way !== null);
  const compared = results.some(({ peer }) => peer !== null);
  const shown = ways.flatMap((way) => ratios[test].map(([name, suffix]) => ({ way, name, suffix })));
  const header = ['TEST', '>SIZE', 'WHO', 'OVER', ...columns[test].map(([name]) => name)];
  if (compared) header.push(...shown.map(({ way, suffix }) => `>${way.toUpperCase()}${suffix}`));
  const rows = results.map((result) => {
    const who = result.peer ?? `onepiece, ${result.way}`;
    const cells = [test, bytes(result.sizeBytes), who, result.device, ...columns[test].map(([, cell]) => cell(result))];
    if (!compared) return cells;
    const { peer, sizeBytes, producers } = result;
    return [
      ...cells,
      ...shown.map(({ way, name }) =>
        times(
          comparisons.find(
            (c) =>
              c.test === test &&
              c.peer === peer &&
              c.way === way &&
              c.sizeBytes === sizeBytes &&
              c.producers === producers,
          )?.[name],
        ),
      ),
    ];
  });
  return `${table(header, rows)}\n`;
}
