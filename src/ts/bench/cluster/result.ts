// The figures of the cluster benchmark.
//
// Invariant: a figure that was not measured is null.
import type { Machine } from '../kit/machine.js';
import type { ClusterBenchSettings } from './settings.js';

export interface ClusterRow {
  readonly test: string;
  /** null for this project; otherwise the name of the peer. */
  readonly peer: string | null;
  /** What it is, in words. */
  readonly what: string;
  readonly value: number | null;
  readonly unit: 'ms' | 'requests' | 'requests/s' | 'runs' | 'ratio';
  /** What the figure is the median of, or was made of. */
  readonly samples: readonly number[];
}

export interface ClusterBench {
  /** 2: without goals. */
  readonly schemaVersion: 2;
  readonly test: 'cluster';
  readonly machine: Machine;
  readonly settings: ClusterBenchSettings;
  /** Name and version of each peer. */
  readonly peers: readonly string[];
  readonly rows: readonly ClusterRow[];
  readonly failures: readonly { readonly what: string; readonly reason: string }[];
}

/** Rows as they are measured. */
export class ClusterRows {
  readonly rows: ClusterRow[] = [];

  /** A figure that is one measurement. */
  add(row: Pick<ClusterRow, 'test' | 'what' | 'value' | 'unit'> & Partial<ClusterRow>): void {
    const { peer = null, samples = [] } = row;
    this.rows.push({ ...row, peer, samples });
  }

  /** The median of several; of an even number, the larger one of the middle. */
  median(row: Pick<ClusterRow, 'test' | 'what'> & Partial<ClusterRow>, ms: readonly number[]): void {
    const samples = ms.map((each) => Math.round(each * 10) / 10);
    const sorted = [...samples].sort((a, b) => a - b);
    this.add({ unit: 'ms', ...row, value: sorted[Math.floor(sorted.length / 2)] ?? null, samples });
  }
}
