// What Python programs use to hand arrays over, as a run sees it.
//
// Invariant: a peer does the same work as ours: it fills an array, hands it over, and sums it.
import type { PythonBenchSettings } from './settings.js';

export interface PythonPeer {
  /** What it is, in words. */
  readonly what: string;
  /**
   * Whether a Python has what it needs.
   *
   * @param interpreter the program that runs Python
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT with the remedy when a package is not installed for it
   */
  check(interpreter: string): void;
  /**
   * Hands arrays over.
   *
   * @param warmUp so many more go first, and do not count
   * @returns microseconds of each
   * @throws Error when the program fails; AbortError
   */
  measure(settings: PythonBenchSettings, warmUp: number, signal: AbortSignal): Promise<number[]>;
}
