// Invariant: both ends of a connection use these same settings.

import { invalidArgument } from '../core/validate.js';
import { isHandshakeText, MAX_TEXT_BYTES } from './handshake-messages.js';

/** The service that both sides mean when neither names one. */
export const DEFAULT_SERVICE = 'onepiece-rdma';

/** No delay, as documents are small and waited for; keep-alive, as a silent peer's host may have died (tcp(7)). */
export const SOCKET_OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 } as const;

/**
 * Checks a name or service that goes into the handshake.
 *
 * @param name the argument's name
 * @param value what was given
 * @returns the value
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is no string, empty, longer than 255 bytes, ill-formed, or has control
 * characters
 */
export function checkHandshakeText(name: string, value: unknown): string {
  if (typeof value === 'string' && value.length > 0 && isHandshakeText(value)) return value;
  throw invalidArgument(name, value, `a string of 1 to ${MAX_TEXT_BYTES} bytes of UTF-8 without control characters`);
}
