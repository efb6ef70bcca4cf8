// What `onepiece bench deadlock` asks of bench/peers/deadlock: protocols under the same seeded faults.
//
// Invariant: the same seed and number of trials give the same results, on any machine.

export interface DeadlockResult<Protocol extends string = string> {
  test: 'deadlock';
  device: 'sim0';
  protocol: Protocol;
  seed: number;
  trials: number;
  /** Trials in which living producers stopped making progress. */
  deadlocks: number;
  /** Messages, in all trials. */
  lost: number;
  torn: number;
  duplicated: number;
  /**
   * Virtual ms from a fault until the next delivery of another producer, over all faults after which somebody else had
   * something left to send. null: so many never saw one that the percentile is one of them.
   */
  recoveryMs: { p50: number | null; p99: number | null; faults: number; never: number };
}

export interface DeadlockOptions<Protocol extends string = string> {
  protocol: Protocol;
  /** 1 or more. */
  trials: number;
  /** The first trial's seed; the others follow. 0 to 2^52. */
  seed: number;
  signal?: AbortSignal;
  /** Told how many trials are over. */
  onProgress?: (trials: number) => void;
}

/** The protocols, and how one is played. */
export interface DeadlockBench {
  readonly protocols: readonly string[];
  /**
   * Plays the trials of one protocol.
   *
   * @throws RdmaError RDMA_ERR_ABORTED when the signal is aborted; Error, with the seed of the trial, when a protocol
   *   does what none may do
   */
  play(options: DeadlockOptions): Promise<DeadlockResult>;
}
