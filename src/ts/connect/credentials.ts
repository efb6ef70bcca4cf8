// Invariant: the secret itself never goes on the wire and never authenticates an application frame: it proves who a
// side is, over nonces of both sides, and yields keys that belong to one session and one direction. Two secrets that
// differ in any way share no key.

import { createHash, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { types } from 'node:util';
import { RdmaError } from '../core/errors.js';
import { checkBytes, invalidArgument } from '../core/validate.js';

/** Bytes of a nonce. */
export const NONCE_BYTES = 32;
/** Bytes of a proof: a whole HMAC-SHA-256. */
export const PROOF_BYTES = 32;
/** A shorter secret is guessed too easily. */
export const MIN_SECRET_BYTES = 8;
/** A longer one is a mistake, such as a whole file. */
export const MAX_SECRET_BYTES = 4096;

const KEY_BYTES = 32;

/** Which side of the connection: the one that connected, or the one that listened. */
export type Role = 'client' | 'server';

/** The keys of one session, by the direction of the frames they authenticate. */
export interface SessionKeys {
  readonly fromClient: Buffer;
  readonly fromServer: Buffer;
}

/**
 * Takes a shared secret as a user gives it. Anyone who can take part in a handshake can test guesses at leisure, so it
 * should be random: 16 bytes or more from a generator, not a word.
 *
 * @param name the argument's name for error messages
 * @param secret a string (taken as UTF-8) or bytes, from 8 to 4096 bytes
 * @returns a private copy of the bytes
 * @throws RDMA_ERR_INVALID_ARGUMENT when it is neither, too short or too long, or a string that UTF-8 cannot carry, as
 * it would be taken for another one; the message never shows the secret
 */
export function toSecretBytes(name: string, secret: unknown): Buffer {
  let bytes: Buffer;
  if (typeof secret === 'string') bytes = Buffer.from(secret, 'utf8');
  else if (ArrayBuffer.isView(secret) || types.isArrayBuffer(secret)) bytes = Buffer.from(checkBytes(name, secret));
  else throw invalidArgument(name, typeof secret, 'a string or bytes');
  if (bytes.byteLength < MIN_SECRET_BYTES || bytes.byteLength > MAX_SECRET_BYTES) {
    const bounds = `${MIN_SECRET_BYTES} to ${MAX_SECRET_BYTES} bytes`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} must have ${bounds}, not ${bytes.byteLength}`);
  }
  if (typeof secret === 'string' && bytes.toString('utf8') !== secret) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `${name} must be well-formed: it has half of a surrogate pair`, {
      remedy: 'give random bytes as a Uint8Array, or as hexadecimal or base64 digits',
    });
  }
  return bytes;
}

/** Returns a fresh nonce of 32 random bytes. */
export function freshNonce(): Buffer {
  return randomBytes(NONCE_BYTES);
}

/**
 * The HMAC key that is derived from a secret. A secret is no key as it is: HMAC fills a short key up with zeros and
 * takes the hash of a long one (RFC 2104, section 2), so "secret" and "secret\0" would be one key.
 */
function keyOf(secret: Uint8Array): Buffer {
  return createHash('sha256').update('onepiece-rdma bootstrap 2 secret\0').update(secret).digest();
}

/**
 * Computes a side's proof that it knows the secret: HMAC-SHA-256 (RFC 2104) over its role and all that was said. The
 * role keeps one side's proof from being played back to it as the other's.
 *
 * @param secret the shared secret
 * @param role the side that proves
 * @param transcript the frames said so far, whole and in order; their headers make their boundaries unambiguous
 * @returns 32 bytes
 */
export function computeProof(secret: Uint8Array, role: Role, transcript: readonly Uint8Array[]): Buffer {
  const hmac = createHmac('sha256', keyOf(secret));
  hmac.update(`onepiece-rdma bootstrap 2 ${role} proof\0`);
  for (const frame of transcript) hmac.update(frame);
  return hmac.digest();
}

/**
 * Compares two proofs or tags in time that does not depend on where they differ.
 *
 * @returns true when they are the same bytes; false also when their lengths differ
 */
export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.byteLength === right.byteLength && timingSafeEqual(left, right);
}

/**
 * Derives the keys of a session by HKDF-SHA-256 (RFC 5869): the salt is both nonces, the info names the direction and
 * the hash of all that was said before.
 *
 * @param secret the shared secret
 * @param clientNonce 32 bytes
 * @param serverNonce 32 bytes
 * @param transcript the frames said so far, whole and in order
 * @returns one key of 32 bytes for each direction
 */
export function deriveSessionKeys(
  secret: Uint8Array,
  clientNonce: Uint8Array,
  serverNonce: Uint8Array,
  transcript: readonly Uint8Array[],
): SessionKeys {
  const salt = Buffer.concat([clientNonce, serverNonce]);
  const hash = createHash('sha256');
  for (const frame of transcript) hash.update(frame);
  const said = hash.digest();
  const key = keyOf(secret);
  const derive = (role: Role): Buffer => {
    const info = Buffer.concat([Buffer.from(`onepiece-rdma bootstrap 2 frames from ${role}\0`), said]);
    return Buffer.from(hkdfSync('sha256', key, salt, info, KEY_BYTES));
  };
  return { fromClient: derive('client'), fromServer: derive('server') };
}
