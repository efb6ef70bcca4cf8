// What benchmarks measure beside the library. @internal
//
// Invariant: nothing but benchmarks imports this.
import { errnoError } from '../core/errors.js';
import { native } from './native.js';

/**
 * Copies with one plain memcpy between the beginnings of two buffers: the memory of a region, or of a peer's region
 * that is mapped here.
 *
 * @param bytes at most what the shorter one has
 * @returns nanoseconds that the memcpy took
 * @throws RdmaError EINVAL for more bytes than there are, also of a buffer that was closed
 */
export function timeCopy(to: ArrayBuffer, from: ArrayBuffer, bytes: number): number {
  const ns = native().timeCopy(to, from, bytes);
  if (ns < 0) throw errnoError(ns, 'memcpy');
  return ns;
}
