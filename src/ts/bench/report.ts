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
  schemaVersion: 1;
  machine: Machine;
  results: Result[];
}

export function report<Result extends BenchResult>(results: Result[]): BenchReport<Result> {
  return { schemaVersion: 1, machine: machine(), results };
}
