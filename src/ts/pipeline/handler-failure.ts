// What a handler threw, as the failure that travels to the gateway.
//
// Invariant: whatever a handler throws becomes a failure; this never throws.
import { RdmaError } from '../core/errors.js';
import type { StageFailure } from './notes.js';

/**
 * The failure of a task. Handlers throw what they like, even what cannot be shown; a code that is not a string is none
 * of ours.
 */
export function failureOf(error: unknown): StageFailure {
  try {
    const code: unknown = error instanceof RdmaError ? error.code : undefined;
    const message = String(error instanceof Error ? error.message : error);
    const known = typeof code === 'string' ? code : 'RDMA_ERR_HANDLER';
    const isRetryable = (error as { retryable?: unknown } | null)?.retryable === true;
    return isRetryable ? { code: known, message, retryable: true } : { code: known, message };
  } catch {
    return { code: 'RDMA_ERR_HANDLER', message: 'an error that cannot be shown' };
  }
}
