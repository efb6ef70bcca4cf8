// CRC-32C of memory, by the processor's own instruction where it has one.
//
// Invariant: the same number as RFC 3720 appendix B.4 gives for the same bytes.
import { checkBytes, checkInteger } from '../core/validate.js';
import { native } from '../addon/native.js';

/**
 * The CRC-32C (Castagnoli) of `length` bytes of `bytes` from `offset`.
 *
 * @param offset 0 to bytes.length; default 0
 * @param length 0 to bytes.length - offset; default all the rest
 * @returns 32 bits, unsigned
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
 */
export function crc32cOf(bytes: Uint8Array, offset = 0, length = bytes.length - offset): number {
  checkBytes('bytes', bytes);
  checkInteger('offset', offset, 0, bytes.length);
  checkInteger('length', length, 0, bytes.length - offset);
  return native().crc32c(bytes, offset, length);
}
