// What benchmarks measure beside the library. @internal
//
// Invariant: nothing but benchmarks imports this.
import { errnoError } from '../core/errors.js';
import { native } from './native.js';

/**
 * Copies with one plain memcpy what a WRITE or READ would copy, between the same mappings, after its checks.
 *
 * @param index of a request in `qp.sends` with one piece of memory; nothing may be outstanding in the queue pair
 * @returns nanoseconds that the memcpy took
 * @throws RdmaError ENOTSUP where no CPU copies; EACCES for what the WRITE or READ would not be allowed; EBUSY; EINVAL
 */
export function timeCopy(qp: { readonly handle: number }, index: number): number {
  const ns = native().timeCopy(qp.handle, index);
  if (ns < 0) throw errnoError(ns, 'memcpy');
  return ns;
}
