// Whom a device can be compared with, as a run sees them.
//
// Invariant: whether a peer can run at all is known before anything is measured.
import type { DeviceTest } from './tests.js';
import type { DeviceResult } from './result.js';

/** What a peer is asked to measure. */
export interface DeviceCompareOptions {
  device: string;
  tests: readonly DeviceTest[];
  iterations: number;
  copySizes: readonly number[];
  signal?: AbortSignal | undefined;
  onStep?: (words: string) => void;
}

export interface DevicePeer {
  name: string;
  /** Its name and version. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when its programs are missing */
  check(): string;
  /** What it has of the tests. @throws RdmaError with its words; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED */
  measure(options: DeviceCompareOptions): Promise<DeviceResult[]>;
}
