// The record of a lease, as it is in the store.
//
// Invariant: anybody may have written to the store, so only a complete, valid record counts as one.
import type { Entry, Json } from './store.js';
import { readJson } from './store.js';

export const MIN_LEASE_MS = 50;
export const MAX_LEASE_MS = 600_000;

export interface LeaseRecord {
  /** Who wrote it: an id that no other holder has had. */
  readonly holder: string;
  /** Grows with each new holder: the fencing number. */
  readonly term: number;
  /** Grows with each renewal. */
  readonly beat: number;
  /** For how long after a renewal nobody else takes it. */
  readonly leaseMs: number;
  /** Given back: whoever comes may take it. */
  readonly free: boolean;
  /** What the holder tells the others. */
  readonly data: Json;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** @internal @returns undefined when the record says something else */
export function readLeaseRecord(entry: Entry | undefined): LeaseRecord | undefined {
  if (entry === undefined) return undefined;
  let json: Json;
  try {
    json = readJson(entry);
  } catch {
    return undefined;
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined;
  const { holder, term, beat, leaseMs, free, data = null } = json as Partial<LeaseRecord>;
  if (typeof holder !== 'string' || typeof free !== 'boolean') return undefined;
  if (!isCount(term) || !isCount(beat) || !isCount(leaseMs)) return undefined;
  if (leaseMs < MIN_LEASE_MS || leaseMs > MAX_LEASE_MS) return undefined;
  return { holder, term, beat, leaseMs, free, data };
}
