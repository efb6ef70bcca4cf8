// Records that only the newest leader writes.
//
// Invariant: the terms of one record never go back. A write of an older term either comes before the first write of a
// newer one, or fails: it expects a revision that is gone. So a leader whose decision depends on a record writes that
// record.
import { RdmaError } from '../core/errors.js';
import type { Holding } from './holding.js';
import {
  type ControlStore,
  conflict,
  type Entry,
  type Json,
  type PutOptions,
  readJson,
  type Revision,
} from './store.js';

/** A record that was written under a term. */
export interface Fenced {
  readonly term: number;
  /** Who wrote it, as a lease names its holders. */
  readonly holder: string;
  readonly value: Json;
}

/** How often a write is tried again because others write the same record. */
const MAX_TRIES = 20;

/**
 * Reads what {@link putFenced} has written.
 *
 * @throws RdmaError RDMA_ERR_PROTOCOL when the record says something else
 */
export function readFenced(entry: Entry): Fenced {
  const json = readJson(entry);
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) {
    const { term, holder, value = null } = json as Partial<Fenced>;
    if (Number.isSafeInteger(term) && typeof holder === 'string') return { term: term!, holder, value };
  }
  throw new RdmaError('RDMA_ERR_PROTOCOL', `the record ${entry.key} was not written under a term`);
}

/**
 * Writes a record under a term.
 *
 * @param holding of whoever writes
 * @param holder its id, that of its lease
 * @param options `expected`: the revision that is overwritten, 0 for none; without it, whatever an older term has
 *   written
 * @returns the revision
 * @throws RdmaError RDMA_ERR_CONFLICT when the term is over, a newer one has written, or the revision is another;
 *   RDMA_ERR_TIMEOUT when it may or may not be written; and those of the store
 */
export async function putFenced(
  store: ControlStore,
  holding: Holding,
  holder: string,
  key: string,
  value: Json,
  { expected }: PutOptions = {},
): Promise<Revision> {
  for (let tries = 1; ; tries++) {
    holding.check();
    const entry = await store.get(key);
    const revision = entry?.revision ?? 0;
    if (expected !== undefined && expected !== revision) throw conflict(key, expected, revision);
    if (entry !== undefined) {
      const found = readFenced(entry);
      // Only who still has the lease gets a higher term.
      if (found.holder !== holder && found.term >= holding.term) await holding.raise(found.term);
    }
    holding.check();
    try {
      return await store.put(key, { term: holding.term, holder, value }, { expected: revision });
    } catch (error) {
      if ((error as RdmaError).code !== 'RDMA_ERR_CONFLICT' || expected !== undefined || tries === MAX_TRIES)
        throw error;
    }
  }
}
