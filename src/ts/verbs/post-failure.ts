// Why work requests were not taken, in words.
//
// Invariant: the error says how many were taken (`taken`), so that a caller knows where to go on.
import { constants } from 'node:os';
import { errnoError, RdmaError } from '../core/errors.js';

/**
 * The error for a post that did not take every request.
 *
 * @param where the class of the queue, for the words
 * @param rc negative errno of the post
 * @param taken how many requests were posted before the one that was refused
 * @returns an RdmaError with `taken`: RDMA_ERR_CLOSED, RDMA_ERR_QUEUE_FULL, or the errno; it is returned, not thrown
 */
export function postFailure(where: string, rc: number, syscall: string, taken: number): RdmaError {
  if (rc === -constants.errno.EBADF) return new RdmaError('RDMA_ERR_CLOSED', `${where} is closed`);
  const error =
    rc === -constants.errno.ENOMEM
      ? new RdmaError('RDMA_ERR_QUEUE_FULL', `the queue of the ${where} is full`, {
          errno: rc,
          syscall,
          remedy: 'poll the completion queue; unsignaled requests leave the queue with the next signaled one',
        })
      : errnoError(rc, syscall, 'see query().state and the request');
  return Object.assign(error, { taken });
}
