// Any error as one with a code.
import { RdmaError } from '../core/errors.js';

/** The error itself, or one that carries it. */
export function asRdmaError(error: unknown, text: string): RdmaError {
  if (error instanceof RdmaError) return error;
  return new RdmaError('RDMA_ERR_PROTOCOL', `${text}: ${String(error)}`, { cause: error });
}
