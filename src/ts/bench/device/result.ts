// The results of `bench device`, as the document of all benchmarks has them.
//
// Invariant: our rows and those of peers have the same fields; each test has one figure.
import type { BenchResult } from '../kit/report.js';
import { percentilesOf, round3 } from '../kit/statistics.js';
import { type DeviceTest, figureUnits } from './tests.js';

export interface DeviceResult extends BenchResult {
  test: DeviceTest;
  figure: { value: number; unit: string } | null;
  /** What else was seen, by name with its unit. */
  details: Record<string, number>;
}

/** This device beside one peer, in the same run. */
export interface DeviceComparison {
  test: DeviceTest;
  peer: string;
  sizeBytes: number;
  /** `us`: less is better; `messages/s`: more is better. */
  unit: 'us' | 'messages/s';
  ours: number;
  theirs: number;
  /** ours / theirs. */
  ratio: number;
}

const NO_LATENCY = { p50: null, p99: null, p999: null };

export function latencyOf(sortedUs: Float64Array): BenchResult['latencyUs'] {
  return sortedUs.length === 0 ? NO_LATENCY : percentilesOf(sortedUs);
}

type Parts = Partial<Omit<DeviceResult, 'test' | 'device' | 'figure'>> & { value?: number };

/** A row. `value` is the figure of the test. */
export function resultOf(device: string, test: DeviceTest, { value, ...parts }: Parts): DeviceResult {
  const figure = value === undefined ? null : { value: round3(value), unit: figureUnits[test] };
  return {
    test,
    device,
    peer: null,
    sizeBytes: 0,
    iterations: 0,
    latencyUs: NO_LATENCY,
    messagesPerSecond: null,
    gigabytesPerSecond: null,
    figure,
    details: {},
    ...parts,
  };
}

/** What our row of the same test and size is to a peer's. */
export function comparisonOf(results: readonly DeviceResult[], theirs: DeviceResult): DeviceComparison | undefined {
  const { test, sizeBytes, peer } = theirs;
  const ours = results.find((r) => r.peer === null && r.test === test && r.sizeBytes === sizeBytes);
  if (ours === undefined || peer === null) return undefined;
  const isRate = theirs.messagesPerSecond !== null;
  const [a, b] = isRate
    ? [ours.messagesPerSecond, theirs.messagesPerSecond]
    : [ours.latencyUs.p50, theirs.latencyUs.p50];
  if (a === null || b === null || b === 0) return undefined;
  return { test, peer, sizeBytes, unit: isRate ? 'messages/s' : 'us', ours: a, theirs: b, ratio: round3(a / b) };
}
