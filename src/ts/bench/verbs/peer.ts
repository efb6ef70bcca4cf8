// Whom our verbs benchmarks can be compared with, as the command sees them.
//
// Invariant: the two are measured in turn, on one device, with the same settings.
import type { Client } from './client.js';
import type { VerbsResult } from './result.js';
import type { VerbsSettings } from './settings.js';
import type { Place } from './side.js';

export interface Comparison {
  test: string;
  sizeBytes: number;
  rounds: number;
  /** `us`: median latency (average when run by duration), less is better. `MB/s`: average bandwidth, more is better. */
  unit: 'us' | 'MB/s';
  ours: number;
  theirs: number;
  /** ours / theirs. */
  ratio: number;
}

export interface Compared {
  ours: VerbsResult;
  theirs: VerbsResult;
  comparison: Comparison;
}

export interface VerbsPeer {
  /**
   * Its name and version, before anything is measured.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is missing or cannot use the device
   */
  name(test: VerbsSettings['test'], device: string): string;
  /**
   * Measures one size, both in turn.
   *
   * @param rounds runs of each
   * @param peer from name()
   * @param onRun told before each run
   * @throws as Client.measure(); RdmaError RDMA_ERR_PROTOCOL with the peer's words; RDMA_ERR_TIMEOUT
   */
  compareSize(
    client: Client,
    place: Place,
    sizeBytes: number,
    rounds: number,
    peer: string,
    onRun: (words: string) => void,
    signal?: AbortSignal,
  ): Promise<Compared>;
}
