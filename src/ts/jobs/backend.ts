// What a job store is made of: records with compare-and-set, values, and owners that beat. JobStore is written once on
// top; memory, LMDB and Redis are below.
//
// Invariant: write() is atomic. Whatever process dies at whatever instant, a record that is there has its values whole,
// and the sum of bytes is that of the records.
import type { JobEntry } from './entry.js';

/** A record with its revision: 1, 2 ... */
export interface Versioned {
  readonly entry: JobEntry;
  readonly revision: number;
}

/** A value that is to be stored with a record. */
export interface NewValue {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** One change of one record. */
export interface RecordChange {
  readonly id: string;
  /** The revision that it must have; 0: it must not be there. */
  readonly expected: number;
  /** What it becomes; undefined: it is removed. */
  readonly next: JobEntry | undefined;
  /** What is stored and what is dropped with it. */
  readonly put?: NewValue | undefined;
  readonly drop?: readonly string[];
  /** The bytes of all jobs must not exceed this. */
  readonly maxBytes?: number;
  /** This owner must be there. */
  readonly owner?: string;
}

/** `conflict`: another one was faster. `full`: by `maxBytes`. `no-owner`: its lease has ended. */
export type Written = 'done' | 'conflict' | 'full' | 'no-owner';

/** Someone who works on jobs, as long as it goes on beating. */
export interface Owner {
  readonly id: string;
  readonly beat: number;
}

/** Where jobs are kept. Reads may be of a moment ago; changes are decided by compare-and-set. */
export interface JobBackend {
  readonly name: string;
  /** What was accepted outlives the process. */
  readonly isDurable: boolean;
  /** How long a change by another process may go unnoticed, in ms; undefined: there is no other process. */
  readonly pollMs: number | undefined;

  /** @returns undefined: there is none */
  read(id: string): Promise<Versioned | undefined>;
  /**
   * Changes a record and its values at once. When it answers, the change is as durable as it will be.
   *
   * @throws RdmaError RDMA_ERR_STORE_FULL when there is no room on the disk or in the server, RDMA_ERR_PEER_GONE when the
   *   server is away: whether the change was made is not known then
   */
  write(change: RecordChange): Promise<Written>;
  /** @returns bytes that the caller owns; undefined: there is no such value */
  readValue(name: string): Promise<Uint8Array | undefined>;
  /** All records, the newest first. */
  list(): AsyncIterable<JobEntry>;
  /** Jobs without an outcome, with their owners. */
  open(): Promise<{ id: string; owner: string }[]>;
  /** Jobs whose `expiresAtMs` is not later than this, at most `limit`. */
  expired(atMs: number, limit: number): Promise<string[]>;
  /** How many jobs there are and how many bytes their values have. */
  usage(): Promise<{ jobs: number; bytes: number }>;

  /** The name of an owner in this process. @param unique what makes it different from all others */
  ownerName(unique: string): string;
  owners(): Promise<Owner[]>;
  /** Beats once more, from `expected` (0: it is new) to the next number; false: it has another number, or none. */
  beat(owner: string, expected: number): Promise<boolean>;
  /** Ends an owner that has not beaten since; false: it has. */
  endOwner(owner: Owner): Promise<boolean>;
  /** True when an owner is known to be dead, without waiting for its lease. */
  isDead(owner: string): boolean;

  /** Removes what crashes have left. @returns how many things */
  sweep(): Promise<number>;
  /** Calls with the id of every job that ended or was removed; undefined: any may have. Answers how to stop. */
  onChange(call: (id: string | undefined) => void): () => void;
  close(): Promise<void>;
}
