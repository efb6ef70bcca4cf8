// How a connection brings messages to its lane: by stores where the lane is mapped, else by work requests.
//
// Invariant: a message is written once, in the order of the sequences, when it is complete and has its place; its bytes
// are there before its descriptor can be believed.

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
