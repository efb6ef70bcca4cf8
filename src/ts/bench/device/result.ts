// The results of `bench device`, as the document of all benchmarks has them.
//
// Invariant: our rows and those of peers have the same fields; a figure is the one that goals speak of.
import type { BenchResult } from '../report.js';
import { percentile, round3 } from '../statistics.js';
import { type DeviceTest, goalOf, type Reached, reached, unitOf } from './goals.js';

export interface DeviceResult extends BenchResult {
  test: DeviceTest;
  figure: { value: number; unit: string } | null;
  goal: { atLeast: number; stretch: number | null; reached: Reached } | null;
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
  if (sortedUs.length === 0) return NO_LATENCY;
  const at = (share: number) => round3(percentile(sortedUs, share));
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999) };
}

type Parts = Partial<Omit<DeviceResult, 'test' | 'device' | 'goal' | 'figure'>> & { value?: number };

/** A row of our own. `value` is what the goals of the test speak of. */
export function resultOf(device: string, test: DeviceTest, { value, ...parts }: Parts): DeviceResult {
  const sizeBytes = parts.sizeBytes ?? 0;
  const goal = device.startsWith('soft') && value !== undefined ? goalOf(test, sizeBytes) : undefined;
  const figure = value === undefined ? null : { value: round3(value), unit: unitOf(test) };
  return {
    test,
    device,
    peer: null,
    sizeBytes,
    iterations: 0,
    latencyUs: NO_LATENCY,
    messagesPerSecond: null,
    gigabytesPerSecond: null,
    figure,
    goal:
      goal === undefined
        ? null
        : { atLeast: goal.atLeast, stretch: goal.stretch, reached: reached(goal, figure!.value) },
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
