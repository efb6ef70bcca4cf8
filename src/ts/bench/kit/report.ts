// The one document that every benchmark prints with --json.
//
// Invariant: a figure that was not measured is null, never 0 and never left out.
import { type Machine, machine } from './machine.js';

export interface BenchResult {
  test: string;
  device: string;
  /** null for this project; otherwise the name of the other side. */
  peer: string | null;
  sizeBytes: number;
  iterations: number;
  latencyUs: { p50: number | null; p99: number | null; p999: number | null };
  messagesPerSecond: number | null;
  /** 10^9 bytes. */
  gigabytesPerSecond: number | null;
}

export interface BenchReport<Result extends BenchResult = BenchResult> {
  schemaVersion: number;
  machine: Machine;
  results: Result[];
}

/** @param schemaVersion of the benchmark's document: one more when a field goes or changes its meaning */
export function report<Result extends BenchResult>(results: Result[], schemaVersion = 1): BenchReport<Result> {
  return { schemaVersion, machine: machine(), results };
}
