// A reference to bytes that stay with a producer, as messages carry it.
//
// Invariant: nothing uses a reference from a peer before it was checked here: whole numbers within bounds, and the
// piece inside its segment. The device checks that the producer allows the access.
import { RdmaError } from '../core/errors.js';

/** What a message says of a {@link Block}: plain numbers, which travel in any form. */
export interface MemoryReference {
  /** Where the bytes begin, in the producer's memory. */
  readonly address: number;
  /** Key of the segment. */
  readonly rkey: number;
  /** How many bytes, 0 to 2^32 - 1. */
  readonly length: number;
  /** Number of the segment in which they lie; the producer never gives it to another one. */
  readonly segment: number;
  /** Where the segment begins, and its length. It is mapped as a whole. */
  readonly segmentAddress: number;
  readonly segmentBytes: number;
}

const MAX_LENGTH = 2 ** 32 - 1;
/** What one ArrayBuffer can show. */
const MAX_SEGMENT_BYTES = 2 ** 40;

const isWhole = (value: unknown, most: number) =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= most;

/** @throws RdmaError RDMA_ERR_PROTOCOL for anything but a reference that is right in itself */
export function checkReference(reference: MemoryReference): void {
  if (typeof reference !== 'object' || reference === null) throw wrong('is no reference');
  const { address, rkey, length, segment, segmentAddress, segmentBytes } = reference;
  const most = Number.MAX_SAFE_INTEGER;
  if (!isWhole(address, most) || !isWhole(segmentAddress, most)) throw wrong('has a wrong address');
  if (!isWhole(rkey, 0xffffffff) || !isWhole(segment, most)) throw wrong('has a wrong key or segment');
  if (!isWhole(length, MAX_LENGTH) || !isWhole(segmentBytes, MAX_SEGMENT_BYTES)) throw wrong('has a wrong length');
  const offset = address - segmentAddress;
  if (segmentBytes === 0 || offset < 0 || offset > segmentBytes || length > segmentBytes - offset) {
    throw wrong(`of ${length} bytes is not inside its segment of ${segmentBytes}`);
  }
}

const wrong = (text: string) => new RdmaError('RDMA_ERR_PROTOCOL', `a reference to memory ${text}`);
