// Memory that a process shares with one that it starts: what one writes the other reads, also after the writer has
// ended.
//
// Invariant: the memory has no name and goes with its last user; it never shrinks, so no access to it can fail.
import { errnoError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import { native } from '../addon/native.js';

const MAX_BYTES = 2 ** 30;

/** Made by {@link createSharedMemory}. */
export interface SharedMemory {
  /** To be inherited by the other process. Whoever created the memory closes it, see `fs.closeSync`. */
  readonly fd: number;
  /** Zeroed; unmapped by {@link releaseSharedMemory}, or when nobody holds it any more. */
  readonly buffer: ArrayBuffer;
}

/**
 * Creates memory to be shared.
 *
 * @param bytes 1 to 2^30
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; EMFILE, ENOMEM
 * @see memfd_create(2)
 */
export function createSharedMemory(bytes: number): SharedMemory {
  checkInteger('bytes', bytes, 1, MAX_BYTES);
  const created = native().createSharedMemory(bytes);
  if (typeof created === 'number') throw errnoError(created, 'memfd_create');
  return created;
}

/**
 * Maps memory that another process has created.
 *
 * @param fd inherited from it; may be closed afterwards
 * @param bytes as it was created with
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; EBADF; EINVAL when it is something else, or of another size; ENOMEM
 * @see mmap(2)
 */
export function mapSharedMemory(fd: number, bytes: number): ArrayBuffer {
  checkInteger('fd', fd, 0, 2 ** 31 - 1);
  checkInteger('bytes', bytes, 1, MAX_BYTES);
  const mapped = native().mapSharedMemory(fd, bytes);
  if (typeof mapped === 'number') throw errnoError(mapped, 'mmap');
  return mapped;
}

/**
 * Gives memory back at once: the buffer has no bytes afterwards. Others that have mapped it keep it.
 *
 * @param buffer of createSharedMemory() or mapSharedMemory()
 * @throws RdmaError EINVAL when it is no ArrayBuffer that can be detached
 */
export function releaseSharedMemory(buffer: ArrayBuffer): void {
  const rc = native().releaseSharedMemory(buffer);
  if (rc !== 0) throw errnoError(rc, 'munmap');
}
