// A store of small records through which the nodes of a cluster agree.
//
// Invariant: a writer that gives a revision knows what it overwrites. Nothing else is required of a store: it may be
// slow, away, or behind; it may apply a write whose answer was late; some forget their last seconds in a crash.
// lease.ts builds safety on top of that.
import { RdmaError } from '../core/errors.js';
import { checkBytes, checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';

/** What JSON can say. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json | undefined };

/** Grows with each write to a store: whole numbers from 1. */
export type Revision = number;

/** A record, as it was when its revision was written. */
export interface Entry {
  readonly key: string;
  /** The bytes; of a value that was given as JSON, its text in UTF-8. {@link readJson} reads it. */
  readonly value: Uint8Array;
  readonly revision: Revision;
}

/** What a watcher sees. */
export type WatchEvent =
  | { readonly type: 'put'; readonly entry: Entry }
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'restarted' }
  | { readonly type: 'synced' };

export interface PutOptions {
  /** The revision that is overwritten; 0: there must be none. Without it, whatever is there. */
  readonly expected?: Revision | undefined;
}

/**
 * The five methods. Every one throws RdmaError: RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED after close();
 * RDMA_ERR_PEER_GONE when the store is away, and nothing was asked of it; RDMA_ERR_TIMEOUT when it did not answer: what
 * was asked may have been done, or may be done later; RDMA_ERR_UNAUTHENTICATED; RDMA_ERR_NOT_FOUND when the place of
 * the records is gone, as a bucket that was deleted.
 */
export interface ControlStore {
  /**
   * Reads a record. What it answers may be behind: decide by put() alone.
   *
   * @returns undefined when there is none
   */
  get(key: string): Promise<Entry | undefined>;
  /**
   * Writes a record.
   *
   * @param value bytes, or what JSON can say; at most {@link MAX_VALUE_BYTES} bytes
   * @returns its revision
   * @throws RdmaError RDMA_ERR_CONFLICT when the revision is not the expected one, and nothing was written;
   *   RDMA_ERR_MESSAGE_TOO_LARGE; RDMA_ERR_STORE_FULL
   */
  put(key: string, value: Uint8Array | Json, options?: PutOptions): Promise<Revision>;
  /**
   * Removes a record. One that is not there: nothing happens, unless a revision is expected.
   *
   * @param expected its revision, from 1
   * @throws RdmaError RDMA_ERR_CONFLICT when the revision is not the expected one
   */
  delete(key: string, expected?: Revision): Promise<void>;
  /**
   * Watches records: the present ones, then `synced`, then each change. Of several changes to one record that nobody
   * has read yet, the watcher gets only the last. When the store was away, `restarted` and all that again: the present
   * records, deletions of those that are gone, `synced`. The store may have forgotten what it had reported before
   * `restarted`.
   *
   * @param prefix '' for all records; with a dot at its end, all whose key begins with it; otherwise the one of that
   *   key
   * @param signal ends the watch: the loop over it ends then
   * @throws RdmaError when the store is closed, or knows that it cannot go on; while it is only away the watch waits
   */
  watch(prefix: string, signal: AbortSignal): AsyncIterable<WatchEvent>;
  /** Ends all watches, and what is under way. May be called more than once. */
  close(): Promise<void>;
}

/** Characters of a key. */
export const MAX_KEY_LENGTH = 250;
/** Bytes of a value. */
export const MAX_VALUE_BYTES = 1_000_000;

// Those of NATS: tokens of letters, digits, and some more, with dots between them.
const KEY = /^[-/=\w]+(\.[-/=\w]+)*$/;
const PREFIX = /^([-/=\w]+\.)*([-/=\w]+)?$/;

/** @returns the key. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkKey(key: unknown): string {
  return checkString('key', key, { minLength: 1, maxLength: MAX_KEY_LENGTH, pattern: KEY });
}

/** @returns the prefix of a watch. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkPrefix(prefix: unknown): string {
  return checkString('prefix', prefix, { maxLength: MAX_KEY_LENGTH, pattern: PREFIX });
}

/** @returns the expected revision of a put, undefined when any will do. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
export function checkPutOptions(options: unknown): Revision | undefined {
  const { expected } = checkObject<PutOptions>('options', options ?? {});
  return expected === undefined ? undefined : checkInteger('expected', expected, 0);
}

/** Tells whether a watch of this prefix sees the key. */
export function isUnder(prefix: string, key: string): boolean {
  if (prefix === '') return true;
  return prefix.endsWith('.') ? key.startsWith(prefix) : key === prefix;
}

/**
 * The bytes of a value.
 *
 * @returns the bytes that were given, not a copy, or the text of the JSON
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for what JSON cannot say; RDMA_ERR_MESSAGE_TOO_LARGE
 */
export function bytesOf(value: unknown): Uint8Array {
  const bytes = ArrayBuffer.isView(value) || value instanceof ArrayBuffer ? checkBytes('value', value) : textOf(value);
  if (bytes.byteLength <= MAX_VALUE_BYTES) return bytes;
  const text = `a value of ${bytes.byteLength} bytes; a control store takes ${MAX_VALUE_BYTES}`;
  throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', text, { remedy: 'split it over several keys' });
}

function textOf(value: unknown): Uint8Array {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // Cyclic, or with a BigInt.
  }
  if (text === undefined) throw invalidArgument('value', value, 'bytes, or what JSON can say');
  return new TextEncoder().encode(text);
}

/**
 * Reads the JSON of a record.
 *
 * @throws RdmaError RDMA_ERR_PROTOCOL when it holds something else
 */
export function readJson(entry: Entry): Json {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(entry.value)) as Json;
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_PROTOCOL', `the record ${entry.key} holds no JSON`, { cause });
  }
}

/** @internal */
export function conflict(key: string, expected: Revision, found: Revision | undefined): RdmaError {
  const now = found === undefined ? 'has another revision' : found === 0 ? 'is not there' : `has revision ${found}`;
  const text = `${key} ${now}, not ${expected === 0 ? 'absent' : expected}`;
  return new RdmaError('RDMA_ERR_CONFLICT', text, { remedy: 'read it and decide again' });
}
