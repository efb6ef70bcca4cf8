// The package lmdb, which only the store on disk needs. The only file that imports it.
//
// Invariant: nothing is loaded until a store on disk is opened.
import type * as Lmdb from 'lmdb';
import { RdmaError } from '../core/errors.js';

export type { Database, RootDatabase } from 'lmdb';

/** @internal @throws RdmaError RDMA_ERR_NOT_SUPPORTED with the install command when the package is missing */
export function loadLmdb(): typeof Lmdb {
  try {
    // Not import(): a worker's bundle is a script that cannot.
    return require('lmdb') as typeof Lmdb;
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', 'a store of jobs on disk needs the package lmdb', {
      remedy: 'npm install lmdb',
      cause,
    });
  }
}
