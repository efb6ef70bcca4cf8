// Names of jobs, and the errors that speak of them.
//
// Invariant: an id is safe in a URL, a file name and a key.
import { RdmaError } from '../core/errors.js';
import { checkString } from '../core/validate.js';

const ID = /^[A-Za-z0-9._:-]{1,128}$/;

/** @internal @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkJobId(id: unknown): string {
  return checkString('id', id, { pattern: ID });
}

/** @internal An id that belongs to another request than the one that comes with it. */
export function anotherRequest(id: string): RdmaError {
  return new RdmaError('RDMA_ERR_CONFLICT', `job ${id} was submitted with another request`, {
    remedy: 'give each request an id of its own, and its id only to the same request',
  });
}

/** @internal */
export function notFound(id: string): RdmaError {
  return new RdmaError('RDMA_ERR_NOT_FOUND', `there is no job ${id}`, {
    remedy: 'it was removed, has expired, or was never accepted',
  });
}
