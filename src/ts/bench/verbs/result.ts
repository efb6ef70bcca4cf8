// A verbs measurement as the document of all benchmarks has it.
//
// Invariant: this project's results and perftest's have the same fields.
import type { BenchResult } from '../kit/report.js';
import { round3 } from '../kit/statistics.js';
import type { Measurement } from './client.js';
import type { VerbsSettings } from './settings.js';
import { cqModOf } from './settings.js';

export interface VerbsResult extends BenchResult {
  latencyUs: {
    min: number | null;
    max: number | null;
    /** perftest's t_typical. */
    p50: number | null;
    avg: number | null;
    stdev: number | null;
    p99: number | null;
    p999: number | null;
  };
  /** MB is 2^20 bytes, as in perftest. */
  bandwidth: { peakMbPerSecond: number | null; averageMbPerSecond: number | null };
  /** Bytes of the measured messages, in both directions. */
  bytes: number | null;
  settings: Omit<VerbsSettings, 'test' | 'sizes'>;
  /** Samples in microseconds in ascending order, when asked for. */
  histogram: number[] | null;
}

export const NO_LATENCY = { min: null, max: null, p50: null, avg: null, stdev: null, p99: null, p999: null };
export const NO_BANDWIDTH = { peakMbPerSecond: null, averageMbPerSecond: null };

/** 10^9 bytes a second from 2^20 bytes a second. */
export function gigabytes(mbPerSecond: number): number {
  return round3((mbPerSecond * 2 ** 20) / 1e9);
}

export function verbsResult(
  device: string,
  settings: VerbsSettings,
  measured: Measurement,
  histogram: boolean,
): VerbsResult {
  const { test, sizes: _, ...rest } = settings;
  const { latency, bandwidth, samplesUs, sizeBytes } = measured;
  return {
    test,
    device,
    peer: null,
    sizeBytes,
    iterations: measured.iterations,
    latencyUs: latency ?? NO_LATENCY,
    bandwidth:
      bandwidth === null
        ? NO_BANDWIDTH
        : { peakMbPerSecond: bandwidth.peakMbPerSecond, averageMbPerSecond: bandwidth.averageMbPerSecond },
    messagesPerSecond: bandwidth?.messagesPerSecond ?? null,
    gigabytesPerSecond: bandwidth === null ? null : gigabytes(bandwidth.averageMbPerSecond),
    bytes: bandwidth?.bytes ?? null,
    settings: { ...rest, cqMod: cqModOf(settings, sizeBytes) },
    histogram: histogram && samplesUs !== null ? Array.from(samplesUs, round3) : null,
  };
}
