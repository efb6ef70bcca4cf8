// The writer of a connection: it brings messages to the lane, by stores if the lane is mapped, otherwise by work
// requests.
//
// Invariant: a message is written once, in the order of the sequences, when it is complete and has its position; its
// bytes are there before its descriptor is valid.

/**
 * A batch ends with the message that makes it this long, so that its reader can begin before the next one is written.
 */
export const BATCH_BYTES = 1 << 18;

/** Chosen once for each connection. */
export interface LaneWriter {
  /** Writes what is ready and has credit. */
  transmit(): void;
  /** A signaled send work request has completed. */
  sendCompleted(wrId: number): void;
}
