// Whom rings can be compared with, as a run sees them.
//
// Invariant: check() says whether a peer can run here before anything is measured; a test that it has not is answered
// with undefined.
import type { RingResult } from './result.js';
import type { RingSettings } from './settings.js';

/** A peer that is ready to be measured. */
export interface OpenPeer {
  /** @throws RdmaError RDMA_ERR_ABORTED; what went wrong, with the peer's own words */
  measure(
    settings: RingSettings,
    sizeBytes: number,
    producers: number,
    signal?: AbortSignal,
  ): Promise<RingResult | undefined>;
  close(): Promise<void>;
}

export interface RingPeer {
  name: string;
  maxBytes: number;
  /** Its name and version. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is not installed */
  check(): string;
  open(signal?: AbortSignal): Promise<OpenPeer>;
}
