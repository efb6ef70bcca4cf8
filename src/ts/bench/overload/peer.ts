// What a user would build otherwise, as a run sees it.
//
// Invariant: check() says whether a peer can run here before anything is measured; each does the same work for the same
// requests at the same times, with as many tasks at a time as our stages run together.
import type { LoadMeasured } from './measured.js';
import type { OverloadSettings } from './settings.js';

/** What a peer is put under. */
export interface PeerLoad {
  settings: OverloadSettings;
  /** 100 %, of our own pipeline. */
  capacityPerSecond: number;
  /** How many times the capacity is offered. */
  factor: number;
  /** For sockets; removed by whoever gave it. */
  folder: string;
}

export interface OverloadPeer {
  name: string;
  /**
   * Its name and version.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when something is not installed
   */
  check(): string;
  /** Measures it under load. @throws as measureOverload() */
  load(load: PeerLoad, signal?: AbortSignal): Promise<LoadMeasured>;
}
