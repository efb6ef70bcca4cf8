// The reason why a message is too large to be sent, and the limits that would let it through.
//
// Invariant: a remedy names exactly the limits that are smaller than the message, each with its value and its owner
// (inbox or outbox), and never one that cannot be raised far enough.
import { RdmaError } from '../core/errors.js';
import { MAX_DATA_BYTES, MAX_PULL_BYTES } from './negotiation-messages.js';

/** What limits a message of an outbox; all in bytes. */
export interface SizeLimits {
  /** The lane that the outbox asks for. */
  readonly dataBytes: number;
  /** What the outbox keeps until it is acknowledged. */
  readonly retainBytes: number;
  /** The lane that the inbox granted; less than `dataBytes` when its maxDataBytes is less. */
  readonly grantedBytes: number;
  /** What the outbox keeps of messages that are pulled. */
  readonly pullBytes: number;
  /** The largest message that the inbox pulls; 0: it pulls none. */
  readonly maxPullBytes: number;
}

/**
 * The error for a message that nobody could take.
 *
 * @param length its bytes
 * @param room the most bytes that could be sent
 * @param remedy what would let it through
 * @returns an RdmaError with code RDMA_ERR_MESSAGE_TOO_LARGE; it is returned, not thrown
 */
export function tooLarge(length: number, room: number, remedy: string): RdmaError {
  const text = `a message of ${length} bytes does not fit: at most ${room} bytes can be sent`;
  return new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', text, { remedy });
}

/** What would let a message of `length` bytes through, which fits neither the lane nor what is pulled. */
export function sizeRemedy(length: number, limits: SizeLimits): string {
  const { dataBytes, retainBytes, grantedBytes, pullBytes, maxPullBytes } = limits;
  const pull: string[] = [];
  if (pullBytes < length) pull.push(`pullBytes of the outbox (now ${pullBytes})`);
  if (maxPullBytes < length) pull.push(`maxPullBytes of the inbox (now ${maxPullBytes})`);
  const lane: string[] = [];
  if (dataBytes < length) lane.push(`dataBytes of the outbox (now ${dataBytes})`);
  if (retainBytes < length) lane.push(`retainBytes of the outbox (now ${retainBytes})`);
  // What the inbox would grant is known only where it granted less than it was asked for.
  if (grantedBytes < dataBytes) lane.push(`maxDataBytes of the inbox (now ${grantedBytes})`);
  else if (dataBytes < length) lane.push('maxDataBytes of the inbox');
  const remedies: string[] = [];
  if (length <= MAX_PULL_BYTES) remedies.push(`let the inbox pull it: raise ${pull.join(' and ')}`);
  if (length <= MAX_DATA_BYTES) remedies.push(`let the lane hold it: raise ${lane.join(', ')}`);
  if (remedies.length === 0) return `send it as several messages: one has at most ${MAX_PULL_BYTES} bytes`;
  return remedies.join('; or ');
}
