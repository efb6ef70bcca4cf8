// A disk without room, as an error.
//
// Invariant: whoever says that there is no room - the file system, a quota, or LMDB with a number - it is one code, and
// the words say which folder, and what to do.
import { RdmaError } from '../core/errors.js';

/** Of lmdb, which has numbers (errno.h, lmdb.h) where Node.js has names. */
const ENOSPC = 28;
const EDQUOT = 122;
const MDB_MAP_FULL = -30_792;
const EIO = 5;
const MDB_BAD_TXN = -30_782;

/** @internal Whether an error of the file system or of lmdb means that there is no room. */
export function isNoSpace(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return [ENOSPC, EDQUOT, MDB_MAP_FULL, 'ENOSPC', 'EDQUOT'].includes(code as number | string);
}

/**
 * @internal Whether an error of lmdb is one that a full disk causes, and other things do: EIO after a write that came
 *   to
 * an end too early (mdb.c, mdb_page_flush), MDB_BAD_TXN for all who share a transaction with one whose write failed.
 */
export function mayBeNoSpace(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === EIO || code === MDB_BAD_TXN;
}

/** @internal RDMA_ERR_STORE_FULL for a folder. */
export function noSpace(folder: string, cause: unknown): RdmaError {
  return new RdmaError('RDMA_ERR_STORE_FULL', `there is no room left on the disk of ${folder}`, {
    remedy: 'make room there, or remove jobs',
    cause,
  });
}
