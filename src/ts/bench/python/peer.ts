// What Python programs use to hand arrays over, as a run sees it.
//
// Invariant: a peer does the same work as ours: it fills an array, hands it over, and sums it.
import type { PythonBenchSettings } from './settings.js';

export interface PythonPeer {
  /** What it is, in words. */
  readonly what: string;
  /**
   * Hands arrays over.
   *
   * @param warmUp so many more go first, and do not count
   * @returns microseconds of each
   * @throws Error when the program fails; AbortError
   */
  measure(settings: PythonBenchSettings, warmUp: number, signal: AbortSignal): Promise<number[]>;
}
