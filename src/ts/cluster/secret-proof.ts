// The check that a secret is that of the cluster, before anything joins.
//
// Invariant: the first component of a cluster that starts writes the proof, all others compare. So a component with
// another secret never gets into a plan, where it would block those with the right one. The proof reveals the secret
// only to guessing, and each guess costs one scrypt (RFC 7914).
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import { checkObject, checkString } from '../core/validate.js';
import { type ControlStore, type Entry, readJson } from '../control/index.js';
import { readOrRefuse } from './cluster-records.js';

/** Its record. */
export const PROOF = 'secret';

const HEX = /^[0-9a-f]{32,128}$/;
const PROOF_BYTES = 32;
const SALT_BYTES = 16;
/** 16 MiB and some 50 ms. */
const COST = { N: 2 ** 14, r: 8, p: 1 };
const RETRY_MS = 200;

/**
 * Compares a secret with that of the cluster; where the store knows none, it becomes that of the cluster.
 *
 * @param patienceMs how long a store that does not answer is asked again
 * @throws RdmaError RDMA_ERR_UNAUTHENTICATED when the cluster has another secret; those of ControlStore
 */
export async function checkSecretProof(store: ControlStore, secret: Secret<string>, patienceMs: number): Promise<void> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return await compare(store, secret);
    } catch (error) {
      const { code } = error as { code?: string };
      // CONFLICT: another one was the first.
      const isLater = code === 'RDMA_ERR_PEER_GONE' || code === 'RDMA_ERR_TIMEOUT' || code === 'RDMA_ERR_NOT_FOUND';
      if (code !== 'RDMA_ERR_CONFLICT' && (!isLater || performance.now() > endMs)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function compare(store: ControlStore, secret: Secret<string>): Promise<void> {
  const entry = await store.get(PROOF);
  if (entry === undefined) {
    const salt = randomBytes(SALT_BYTES).toString('hex');
    const proof = await proofOf(secret, salt);
    await store.put(PROOF, { salt, proof: proof.toString('hex') }, { expected: 0 });
    return;
  }
  const { salt, proof } = readProof(entry);
  const own = await proofOf(secret, salt);
  const known = Buffer.from(proof, 'hex');
  if (known.length === own.length && timingSafeEqual(known, own)) return;
  const changed = `after a change of secret on all of them, delete the record "${PROOF}"`;
  throw new RdmaError('RDMA_ERR_UNAUTHENTICATED', 'the secret is not that of this cluster', {
    remedy: `use the secret file of the other nodes; ${changed}`,
  });
}

function readProof(entry: Entry): { salt: string; proof: string } {
  return readOrRefuse(entry.key, () => {
    const { salt, proof } = checkObject<{ salt: string; proof: string }>('proof', readJson(entry));
    return { salt: checkString('salt', salt, { pattern: HEX }), proof: checkString('proof', proof, { pattern: HEX }) };
  });
}

function proofOf(secret: Secret<string>, salt: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(secret.reveal(), Buffer.from(salt, 'hex'), PROOF_BYTES, COST, (error, proof) => {
      if (error === null) resolve(proof);
      else reject(error);
    });
  });
}
