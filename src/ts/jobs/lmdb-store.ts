// A store of jobs on disk, for one machine.
//
// Invariant: the folder holds nothing but what the store made: jobs.mdb, its lock, and values/.
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { RdmaError, systemCode } from '../core/errors.js';
import { checkBoolean, checkObject, checkString } from '../core/validate.js';
import { LmdbBackend } from './lmdb-backend.js';
import { reserveLock } from './lmdb-lock.js';
import { loadLmdb } from './lmdb-module.js';
import { isNoSpace, noSpace } from './no-space.js';
import { type JobStorePort, JobStore, type JobStoreOptions } from './store.js';
import { ValueFiles } from './value-files.js';

const MAX_BYTES = 8 * 2 ** 30;
const MAX_READERS = 1024;

/** How to open a store on disk. */
export interface LmdbStoreOptions extends JobStoreOptions {
  /** Makes the store when there is none; default true. */
  create?: boolean;
}

/**
 * Opens a store of jobs in a folder: accepted jobs are on disk. Needs the package lmdb. Several processes of one
 * machine may open it; a folder on a network must not be used (LMDB, "Caveats").
 *
 * @param folder is made, for its owner only, when it is not there
 * @param options `maxBytes` is 8 GiB by default
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED without lmdb; RDMA_ERR_NOT_FOUND without a store, when `create` is false;
 *   RDMA_ERR_STORE_FULL when there is no room to make one; RDMA_ERR_INVALID_ARGUMENT; a system error such as EACCES
 */
export async function lmdbStore(
  folder: string,
  options: LmdbStoreOptions = {},
  port?: JobStorePort,
): Promise<JobStore> {
  const path = resolve(checkString('folder', folder, { minLength: 1, maxLength: 4096 }));
  const create = checkBoolean('create', checkObject<LmdbStoreOptions>('options', options).create ?? true);
  const database = join(path, 'jobs.mdb');
  if (!create && !existsSync(database)) {
    throw new RdmaError('RDMA_ERR_NOT_FOUND', `there is no store of jobs in ${path}`);
  }
  const { open } = loadLmdb();
  const files = new ValueFiles(join(path, 'values'));
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await files.open();
    await reserveLock(database, MAX_READERS, randomUUID());
    // Batches of its own kind begin with a write whose promise nobody has: when the disk is full that one is rejected,
    // and ends the process. Transactions that meet share a commit without them, too.
    const limits = { maxDbs: 4, maxReaders: MAX_READERS, eventTurnBatching: false };
    const root = open({ path: database, noSubdir: true, ...limits });
    const table = root.openDB('jobs', { encoding: 'json' });
    const values = root.openDB<Buffer, string>('values', { encoding: 'binary' });
    return new JobStore(new LmdbBackend(root, table, values, files, path), options, MAX_BYTES, port);
  } catch (cause) {
    if (cause instanceof RdmaError) throw cause;
    if (isNoSpace(cause)) throw noSpace(path, cause);
    const { code, message } = cause as NodeJS.ErrnoException;
    const known = typeof code === 'string' ? systemCode(code) : 'RDMA_ERR_NOT_SUPPORTED';
    throw new RdmaError(known, `the store of jobs in ${path} cannot be opened: ${message}`, { cause });
  }
}

/** Where a store on disk is by default: below XDG_STATE_HOME (XDG Base Directory Specification), `onepiece/jobs`. */
export function defaultStoreFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const { XDG_STATE_HOME: state = '' } = environment;
  return join(isAbsolute(state) ? state : join(homedir(), '.local/state'), 'onepiece/jobs');
}
