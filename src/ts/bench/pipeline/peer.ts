// Whom our pipeline can be compared with, as a run sees them.
//
// Invariant: check() says whether a peer can run here before anything is measured; every peer has every shape and
// every task, but for streams.
import type { PipelinePlan } from './settings.js';
import type { Measured } from './subject.js';

/** A peer that is ready to be measured. */
export interface OpenPipelinePeer {
  /** @throws RdmaError RDMA_ERR_ABORTED; what went wrong, with the peer's own words */
  measure(plan: PipelinePlan, signal?: AbortSignal): Promise<Measured>;
  close(): Promise<void>;
}

export interface PipelinePeer {
  name: string;
  /** What carries the bytes. */
  medium: string;
  /** The largest request that it is asked to carry. */
  maxBytes: number;
  /** It has the chain of streaming stages too. */
  streams: boolean;
  /**
   * Its name and version.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when something is not installed
   */
  check(): string;
  open(signal?: AbortSignal): Promise<OpenPipelinePeer>;
}
