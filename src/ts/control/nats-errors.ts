// The meaning of NATS errors for a control store.
//
// Invariant: RDMA_ERR_PEER_GONE means that nothing was done; if that is unknown, the error is RDMA_ERR_TIMEOUT.
import { isRdmaError, RdmaError, type ErrorCode } from '../core/errors.js';

/** JetStream's numbers of errors (nats-server, server/errors.json). */
const WRONG_LAST_SEQUENCE = [10071, 10164];
const STREAM_NOT_FOUND = 10059;
/** Of a stream that is to be made: its name, or one of its subjects, is one of a stream already. */
const TAKEN = [10058, 10065];
const NO_JETSTREAM = [10039, 10076];
const FULL = [10023, 10028, 10047, 10077, 10122];

const named = (error: unknown, ...names: string[]): boolean => {
  for (let at = error as Error | undefined; at instanceof Error; at = at.cause as Error | undefined)
    if (names.includes(at.name)) return true;
  return false;
};
const numberOf = (error: unknown): number => Number((error as { code?: unknown }).code);

/** @internal A compare-and-set that met another revision. */
export const isWrongRevision = (error: unknown): boolean => WRONG_LAST_SEQUENCE.includes(numberOf(error));

/** @internal Nobody serves the bucket: it is gone, or not served yet. */
export const isBucketAway = (error: unknown): boolean =>
  numberOf(error) === STREAM_NOT_FOUND || named(error, 'NoResponders', 'NoRespondersError', 'StreamNotFoundError');

/** @internal The bucket is not there. */
export const isNoBucket = (error: unknown): boolean =>
  numberOf(error) === STREAM_NOT_FOUND || named(error, 'StreamNotFoundError');

/** @internal A bucket that was to be made is there, or another stream has its subjects. */
export const isTaken = (error: unknown): boolean => TAKEN.includes(numberOf(error));

/** @internal Who asks may not. */
export const isForbidden = (error: unknown): boolean =>
  named(error, 'AuthorizationError', 'UserAuthenticationExpiredError', 'PermissionViolationError') ||
  (error as { isAuthError?: () => boolean }).isAuthError?.() === true;

/** @internal @returns an error of this package */
export function natsFailure(error: unknown, where: string): RdmaError {
  if (isRdmaError(error)) return error;
  const text = `${where}: ${String((error as Error)?.message ?? error)}`;
  const fail = (code: ErrorCode, remedy?: string) => new RdmaError(code, text, { remedy, cause: error });
  const number = numberOf(error);
  if (isForbidden(error))
    return fail('RDMA_ERR_UNAUTHENTICATED', 'give it credentials that are valid, and may use JetStream');
  if (FULL.includes(number))
    return fail('RDMA_ERR_STORE_FULL', 'make room on its disk, or raise the limit of the bucket');
  if (NO_JETSTREAM.includes(number)) return fail('RDMA_ERR_NOT_SUPPORTED', 'start nats-server with --jetstream');
  if (isNoBucket(error)) return fail('RDMA_ERR_NOT_FOUND');
  if (named(error, 'NoResponders', 'NoRespondersError'))
    return fail('RDMA_ERR_PEER_GONE', 'nats-server has no JetStream, or it is not ready yet');
  if (named(error, 'TimeoutError', 'RequestError')) return fail('RDMA_ERR_TIMEOUT');
  if (named(error, 'ClosedConnectionError', 'DrainingConnectionError', 'ConnectionError'))
    return fail('RDMA_ERR_TIMEOUT');
  return fail('RDMA_ERR_PROTOCOL');
}
