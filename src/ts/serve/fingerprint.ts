// What tells one submitted request from another, so that an Idempotency-Key is not used for two
// (draft-ietf-httpapi-idempotency-key-header, section 2.4 "Idempotency Fingerprint").
//
// Invariant: requests that say the same have the same fingerprint, whatever body brought them: boundaries of forms,
// spaces in JSON and the order of the parts do not count. Long ones do not hold the process up.
import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { bytesOf } from '../pipeline/tensor.js';
import type { DecodedRequest } from './request-body.js';

/** About a millisecond of hashing. */
const SLICE_BYTES = 2 ** 20;

/** The fingerprint of a request: SHA-256 of its metadata and parts, in base64url. */
export async function fingerprintOf({ meta, parts }: DecodedRequest): Promise<string> {
  const hash = createHash('sha256');
  const names = Object.keys(parts).sort();
  const about = names.map((name) => [name, parts[name]!.dtype, parts[name]!.shape]);
  hash.update(JSON.stringify([meta, about]));
  for (const name of names) {
    const { buffer, byteOffset, byteLength } = bytesOf(parts[name]!);
    for (let at = 0; at < byteLength; at += SLICE_BYTES) {
      if (at > 0) await turn();
      hash.update(new Uint8Array(buffer, byteOffset + at, Math.min(SLICE_BYTES, byteLength - at)));
    }
  }
  return hash.digest('base64url');
}
