// The tables of the pipeline benchmark.
//
// Invariant: a figure that was not measured is `-`; a ratio says how many times better ours is than a peer.
import type {
  IdleResult,
  LoadResult,
  PipelineComparison,
  PipelineDocument,
  PipelineSubject,
  StartResult,
} from '../bench/pipeline/result.js';
import { bytes, table } from './table.js';

const us = (value: number) => value.toFixed(value < 100 ? 2 : 0);
const fixed = (value: number | null, decimals: number) => (value === null ? '-' : value.toFixed(decimals));
const rate = (value: number | null) => fixed(value, value !== null && value < 100 ? 1 : 0);
const times = (value: number | null) => (value === null ? '-' : `${value.toPrecision(value < 1 ? 2 : 3)}x`);

function who({ peer, mode, views }: PipelineSubject): string {
  return peer ?? `onepiece, ${mode}${views ? ', views' : ''}`;
}

const loadColumns: [name: string, cell: (result: LoadResult) => string][] = [
  ['SHAPE', (r) => r.shape],
  ['>SIZE', (r) => bytes(r.sizeBytes)],
  ['>IN FLIGHT', (r) => String(r.inFlight)],
  ['WHO', who],
  ['>p50 us', (r) => us(r.latencyUs.p50)],
  ['>p99', (r) => us(r.latencyUs.p99)],
  ['>p99.9', (r) => us(r.latencyUs.p999)],
  ['>HOP p50 us', (r) => us(r.hopUs.p50)],
  ['>p99', (r) => us(r.hopUs.p99)],
  ['>p99.9', (r) => us(r.hopUs.p999)],
  ['>REQUESTS/s', (r) => rate(r.requestsPerSecond)],
  ['>GB/s', (r) => fixed(r.gbPerSecond, 2)],
  ['>CPU us', (r) => us(r.cpuUsPerRequest)],
  ['>RSS MiB', (r) => fixed(r.memoryMiB.rss, 0)],
  ['>PSS MiB', (r) => fixed(r.memoryMiB.pss, 0)],
];

const streamColumns: [name: string, cell: (result: LoadResult) => string][] = [
  ...loadColumns.slice(0, 3),
  ['>PIECES', (r) => String(r.pieces)],
  ...loadColumns.slice(3),
];

const idleColumns: [name: string, cell: (result: IdleResult) => string][] = [
  ['IDLE SHAPE', (r) => r.shape],
  ['WHO', who],
  ['>SECONDS', (r) => String(r.idleSeconds)],
  ['>CPU %', (r) => fixed(r.cpuPercent, 2)],
  ['>RSS MiB', (r) => fixed(r.memoryMiB.rss, 0)],
  ['>PSS MiB', (r) => fixed(r.memoryMiB.pss, 0)],
];

const startColumns: [name: string, cell: (result: StartResult) => string][] = [
  ['>STAGES', (r) => String(r.stages)],
  ['>START p50 ms', (r) => fixed(r.startMs.p50, 0)],
  ['>min', (r) => fixed(r.startMs.min, 0)],
  ['>max', (r) => fixed(r.startMs.max, 0)],
  ['>RSS MiB', (r) => fixed(r.memoryMiB.rss, 0)],
  ['>PSS MiB', (r) => fixed(r.memoryMiB.pss, 0)],
];

function tableOf<Result>(columns: [string, (result: Result) => string][], results: readonly Result[]): string {
  const header = columns.map(([name]) => name);
  return table(
    header,
    results.map((result) => columns.map(([, cell]) => cell(result))),
  );
}

const inPieces = (pieces: number) => (pieces === 1 ? 'whole' : `${pieces} pieces`);

function comparisonText(comparisons: readonly PipelineComparison[]): string {
  const header = ['OURS TO', 'SHAPE', '>SIZE', '>IN FLIGHT', 'MODE', '>LATENCY', '>REQUESTS/s', '>CPU'];
  const rows = comparisons.map((c) => [
    c.peerPieces === undefined ? c.peer : `${c.peer}, ${inPieces(c.peerPieces)}`,
    c.shape,
    bytes(c.sizeBytes),
    String(c.inFlight),
    c.pieces === undefined ? (c.mode ?? '-') : inPieces(c.pieces),
    times(c.latencyRatio),
    times(c.requestsPerSecondRatio),
    times(c.cpuRatio),
  ]);
  return table(header, rows);
}

/** A table for each kind of result; with peers, how many times better ours is than each. */
export function pipelineText({ results, comparisons }: PipelineDocument): string {
  const parts: string[] = [];
  const loads = results.filter((r): r is LoadResult => r.test === 'pipeline');
  const rests = results.filter((r): r is LoadResult => r.test === 'pipeline-rest');
  const streams = results.filter((r): r is LoadResult => r.test === 'pipeline-stream');
  const idle = results.filter((r): r is IdleResult => r.test === 'pipeline-idle');
  const starts = results.filter((r): r is StartResult => r.test === 'pipeline-start');
  if (loads.length > 0) parts.push(tableOf(loadColumns, loads));
  if (rests.length > 0) parts.push(`one request after each ${rests[0]!.restMs} ms`, tableOf(loadColumns, rests));
  if (streams.length > 0) parts.push(tableOf(streamColumns, streams));
  if (idle.length > 0) parts.push(tableOf(idleColumns, idle));
  if (starts.length > 0) parts.push(tableOf(startColumns, starts));
  if (comparisons.length > 0) parts.push(`\n${comparisonText(comparisons)}`);
  return `${parts.join('\n')}\n`;
}
