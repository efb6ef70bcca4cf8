// The default store of the library: jobs live as long as the process.
//
// Invariant: opening it opens nothing: no file, no connection.
import { checkObject } from '../core/validate.js';
import { MemoryBackend } from './memory-backend.js';
import { type JobStorePort, JobStore, type JobStoreOptions } from './store.js';

const MAX_BYTES = 2 ** 30;

/**
 * A store in the memory of this process.
 *
 * @param options `maxBytes` is 1 GiB by default
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
 */
export function memoryStore(options: JobStoreOptions = {}, port?: JobStorePort): JobStore {
  return new JobStore(new MemoryBackend(), checkObject('options', options), MAX_BYTES, port);
}
