// A day of requests for the measurement of scaling, from a file that the user has fetched or from the generator.
//
// Invariant: arrivals are in order, within one day, and each has a time that it takes. The project holds no row of the
// public trace.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { csvRows } from '../../src/ts/planner/traces/csv.js';
import { gentd26Like } from '../planner/gentd26-like.js';
import type { Arrival } from '../planner/stage-model.js';

export const DAY_MS = 86_400_000;

/**
 * One day of GenTD26's requests in the small form (`arrival_s`, `exec_s`), also gzipped: that one on which most came.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the line
 */
export function readDay(file: string): Arrival[] {
  const bytes = readFileSync(file);
  const text = (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString();
  const days = new Map<number, Arrival[]>();
  for (const row of csvRows(file, text, ['arrival_s', 'exec_s'])) {
    const [atMs, serviceMs] = [1000 * row.number('arrival_s')!, 1000 * row.number('exec_s')!];
    if (!(serviceMs > 0)) continue; // it was never served
    const day = Math.floor(atMs / DAY_MS);
    const list = days.get(day) ?? [];
    days.set(day, list);
    list.push({ atMs: atMs - day * DAY_MS, serviceMs });
  }
  return [...days.values()].reduce((most, each) => (each.length > most.length ? each : most), []);
}

/** A day like those of GenTD26, made from its published statistics. */
export const madeDay = (seed: number): Arrival[] => gentd26Like(seed).filter(({ atMs }) => atMs < DAY_MS);

/** The hour in which most requests come, from its own beginning. */
export function peakHour(arrivals: readonly Arrival[]): Arrival[] {
  const hourMs = DAY_MS / 24;
  const byHour = Array.from({ length: 24 }, (_, hour) =>
    arrivals.filter(({ atMs }) => Math.floor(atMs / hourMs) === hour),
  );
  const peak = byHour.reduce((most, each) => (each.length > most.length ? each : most));
  const startMs = Math.floor((peak[0]?.atMs ?? 0) / hourMs) * hourMs;
  return peak.map((each) => ({ ...each, atMs: each.atMs - startMs }));
}
