// Copying memory that another core has written, and that is read once.
//
// Invariant: exactly the bytes that were asked for are copied, or none.
import { checkBytes, checkInteger, invalidArgument } from '../core/validate.js';
import { native } from '../addon/native.js';

/** Below this a call into the addon costs more than it wins. */
export const WIDE_COPY_BYTES = 128 * 1024;

/**
 * Copies `length` bytes, several pages at a time; more than 4 MiB past the cache of this core.
 *
 * @param target not over the same memory as `source`
 * @param targetOffset 0 to target.length - length
 * @param sourceOffset 0 to source.length - length
 * @param length 0 to 2^53 - 1
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
 */
export function wideCopy(
  target: Uint8Array,
  targetOffset: number,
  source: Uint8Array,
  sourceOffset: number,
  length: number,
): void {
  checkBytes('target', target);
  checkBytes('source', source);
  checkInteger('length', length, 0, Math.min(target.length, source.length));
  checkInteger('targetOffset', targetOffset, 0, target.length - length);
  checkInteger('sourceOffset', sourceOffset, 0, source.length - length);
  if (native().wideCopy(target, targetOffset, source, sourceOffset, length) === 0) return;
  throw invalidArgument('target', target, 'memory that does not overlap the source');
}
