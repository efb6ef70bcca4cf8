// What does the work of the cluster benchmark otherwise, as a run sees it.
//
// Invariant: it runs the stages of work.ts, each in processes of its own, which note what they run in `runsFile`.
import type { ClusterSubject } from './load.js';

/** A peer that is up. */
export interface OpenClusterPeer extends ClusterSubject {
  readonly peer: string;
  readonly runsFile: string;
  close(): Promise<void>;
}

export interface ClusterPeer {
  /** As people know it. */
  readonly title: string;
  /** Its name and version. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when it is not installed */
  check(): string;
  /** Starts all of it. @param folder where it keeps its files; the caller removes it */
  open(folder: string): Promise<OpenClusterPeer>;
}
