// The lock file of an LMDB database.
//
// Invariant: the pages of a lock file that we made are on the disk. LMDB makes one with a hole and writes into it as
// memory: on a full disk that is a SIGBUS (mmap(2)), which ends the process. A lock file of zeros is a new one to LMDB.
import { existsSync } from 'node:fs';
import { link, open, rm } from 'node:fs/promises';

/** At least what LMDB wants: 192 bytes and 64 for each reader (mdb.c, mdb_env_setup_locks), in whole pages. */
const bytesOf = (maxReaders: number) => Math.ceil((192 + 64 * maxReaders) / 4096) * 4096;

/**
 * @internal Makes the lock file of a database that has none yet. Whoever else makes it at the same time is as good.
 *
 * @param unique what no other process names its files by
 * @throws the system's error, such as ENOSPC; nothing is left then
 */
export async function reserveLock(database: string, maxReaders: number, unique: string): Promise<void> {
  const path = `${database}-lock`;
  if (existsSync(path)) return;
  const part = `${path}.${unique}`;
  try {
    const file = await open(part, 'wx', 0o644);
    try {
      await file.writeFile(Buffer.alloc(bytesOf(maxReaders)));
      await file.sync();
    } finally {
      await file.close();
    }
    await link(part, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(part, { force: true });
  }
}
