// How much memory the lanes and outboxes of a pipeline have.
//
// Invariant: a lane holds three messages of the largest size, so that one finds room beside one that is held and what
// is skipped where the ring ends. An outbox retains two windows of requests: while a request is in the stages, only
// requests within `maxInFlight` tickets of it are (see Proxy), before it or behind it, so sending never waits for a
// message that itself waits for this one, whatever order the tasks end in.

/** Bytes of a message besides its tensors: head and padding. */
export const HEAD_ALLOWANCE_BYTES = 256 * 1024;
const ALIGN_BYTES = 64;
const MAX_LANE_BYTES = 2 ** 31 - ALIGN_BYTES;
/** A lane this long could not be made as long as it should be. */
export const SHORT_LANE_BYTES = MAX_LANE_BYTES;

/** The largest message with up to `maxBytes` of tensors, in bytes. */
export function maxMessageBytes(maxBytes: number): number {
  return maxBytes + HEAD_ALLOWANCE_BYTES;
}

/** Sizes for messages of up to `maxBytes` of tensors, with `maxInFlight` requests under way. */
export function laneSizes(maxBytes: number, maxInFlight: number) {
  const message = Math.ceil(maxMessageBytes(maxBytes) / ALIGN_BYTES) * ALIGN_BYTES;
  return {
    slots: Math.min(4095, 2 * maxInFlight + 2),
    dataBytes: Math.min(MAX_LANE_BYTES, 3 * message),
    // One more than can be needed, so that an acknowledgement on its way holds nobody up; its bytes are also what may
    // be skipped where the ring ends.
    retainMessages: 2 * maxInFlight,
    retainBytes: 2 * maxInFlight * message,
  };
}

/** Limits of an inbox whose senders send up to `maxBytes` of tensors. */
export function inboxLimits(maxBytes: number, maxInFlight: number): { maxSlots: number; maxDataBytes: number } {
  const { slots, dataBytes } = laneSizes(maxBytes, maxInFlight);
  return { maxSlots: slots, maxDataBytes: dataBytes };
}

/** What the senders of one place must know: a message that went to another one would be acknowledged there and lost. */
export function placeSecret(secret: string, place: string): string {
  return `${secret}/${place}`;
}
