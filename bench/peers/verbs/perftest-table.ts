// Reading the table that a perftest program prints.
//
// Invariant: a row is taken only below a header that was understood, column by column by name; what is not such a
// table is an error that shows what was printed.
import { RdmaError } from '../../../src/ts/core/errors.js';

/** A row of a latency table, in microseconds. */
export interface PerftestLatency {
  kind: 'latency';
  sizeBytes: number;
  iterations: number;
  min: number | null;
  max: number | null;
  typical: number | null;
  avg: number | null;
  stdev: number | null;
  p99: number | null;
  p999: number | null;
}

/** A row of a bandwidth table; MB is 2^20 bytes. */
export interface PerftestBandwidth {
  kind: 'bandwidth';
  sizeBytes: number;
  iterations: number;
  peakMbPerSecond: number | null;
  averageMbPerSecond: number;
  messagesPerSecond: number | null;
}

export type PerftestRow = PerftestLatency | PerftestBandwidth;

const SHOWN_CHARACTERS = 300;
const columns: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['sizeBytes', /^#bytes/],
  ['iterations', /^\s*#iterations/],
  ['min', /^\s*t_min\[usec\]/],
  ['max', /^\s*t_max\[usec\]/],
  ['typical', /^\s*t_typical\[usec\]/],
  ['avg', /^\s*t_avg\[usec\]/],
  ['stdev', /^\s*t_stdev\[usec\]/],
  ['p99', /^\s*99% percentile\[usec\]/],
  ['p999', /^\s*99\.9% percentile\[usec\]/],
  ['tps', /^\s*tps average/],
  ['peakMb', /^\s*BW peak\[MB\/sec\]/],
  ['averageMb', /^\s*BW average\[MB\/sec\]/],
  ['millions', /^\s*MsgRate\[Mpps\]/],
];

function headerOf(line: string): string[] | undefined {
  let rest = line.trim();
  if (!rest.startsWith('#bytes')) return undefined;
  const names: string[] = [];
  while (rest.length > 0) {
    const found = columns.find(([, pattern]) => pattern.test(rest));
    if (found === undefined) return undefined;
    names.push(found[0]);
    rest = rest.replace(found[1], '').trimStart();
  }
  return names;
}

/**
 * The rows of the table in `output`.
 *
 * @throws RdmaError RDMA_ERR_PROTOCOL when there is no table with a whole row in it
 */
export function parsePerftest(output: string): PerftestRow[] {
  const rows: PerftestRow[] = [];
  let header: string[] | undefined;
  for (const line of output.slice(0, 1 << 20).split('\n')) {
    const names = headerOf(line);
    if (names !== undefined) {
      header = names;
      continue;
    }
    if (header === undefined) continue;
    const cells = line.trim().split(/\s+/);
    if (cells.length !== header.length || cells.some((cell) => !/^-?\d+(\.\d+)?$/.test(cell))) continue;
    const row = toRow(new Map(header.map((name, i) => [name, Number(cells[i])])));
    if (row !== undefined) rows.push(row);
  }
  if (rows.length > 0) return rows;
  const shown = output.replace(/\s+/g, ' ').trim().slice(-SHOWN_CHARACTERS);
  throw new RdmaError(
    'RDMA_ERR_PROTOCOL',
    `perftest printed no table that is understood; it ended with: ${shown || 'nothing'}`,
  );
}

function toRow(cells: ReadonlyMap<string, number>): PerftestRow | undefined {
  const sizeBytes = cells.get('sizeBytes');
  const iterations = cells.get('iterations');
  if (sizeBytes === undefined || iterations === undefined) return undefined;
  const cell = (name: string) => cells.get(name) ?? null;
  const averageMbPerSecond = cells.get('averageMb');
  if (averageMbPerSecond !== undefined) {
    const millions = cells.get('millions');
    // perftest prints 0.00 for a peak that it has not looked for.
    const peakMbPerSecond = cells.get('peakMb') || null;
    const messagesPerSecond = millions === undefined ? null : Math.round(millions * 1e6);
    return { kind: 'bandwidth', sizeBytes, iterations, peakMbPerSecond, averageMbPerSecond, messagesPerSecond };
  }
  if (!cells.has('avg')) return undefined;
  return {
    kind: 'latency',
    sizeBytes,
    iterations,
    min: cell('min'),
    max: cell('max'),
    typical: cell('typical'),
    avg: cell('avg'),
    stdev: cell('stdev'),
    p99: cell('p99'),
    p999: cell('p999'),
  };
}
