// The control store of one process: the default of a pipeline that runs alone, and of tests.
//
// Invariant: it never forgets and never fails, so a lease on it needs no caution (`storeForgets: false`).
import { RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkInteger, invalidArgument } from '../core/validate.js';
import { Feed } from './feed.js';
import {
  bytesOf,
  checkKey,
  checkPrefix,
  checkPutOptions,
  conflict,
  type ControlStore,
  type Entry,
  isUnder,
  type Json,
  type PutOptions,
  type Revision,
  type WatchEvent,
} from './store.js';

/** Records that several stores of one process share. */
export class MemoryRecords {
  /** @internal */
  readonly entries = new Map<string, Entry>();
  /** @internal */
  readonly watchers = new Set<{ prefix: string; feed: Feed }>();
  private last: Revision = 0;

  /** @internal */
  put(key: string, value: Uint8Array): Revision {
    const entry = { key, value, revision: ++this.last };
    this.entries.set(key, entry);
    this.notifyWatchers(key, () => ({ type: 'put', entry: copyOf(entry) }));
    return this.last;
  }

  /** @internal */
  delete(key: string): void {
    if (!this.entries.delete(key)) return;
    this.last++;
    this.notifyWatchers(key, () => ({ type: 'delete', key }));
  }

  private notifyWatchers(key: string, event: () => WatchEvent): void {
    for (const { prefix, feed } of this.watchers) if (isUnder(prefix, key)) feed.push(event());
  }
}

const copyOf = (entry: Entry): Entry => ({ ...entry, value: entry.value.slice() });

/**
 * A control store in the memory of this process.
 *
 * @param records those of another store of this process; default: none yet
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
 */
export function memoryControlStore(records: MemoryRecords = new MemoryRecords()): ControlStore {
  if (!(records instanceof MemoryRecords)) throw invalidArgument('records', records, 'MemoryRecords');
  return new MemoryControlStore(records);
}

class MemoryControlStore implements ControlStore {
  private readonly feeds = new Set<Feed>();
  private isClosed = false;

  constructor(private readonly records: MemoryRecords) {}

  async get(key: string): Promise<Entry | undefined> {
    this.checkOpen();
    const entry = this.records.entries.get(checkKey(key));
    return entry === undefined ? undefined : copyOf(entry);
  }

  async put(key: string, value: Uint8Array | Json, options?: PutOptions): Promise<Revision> {
    this.checkOpen();
    checkKey(key);
    const expected = checkPutOptions(options);
    const bytes = bytesOf(value).slice();
    this.checkRevision(key, expected);
    return this.records.put(key, bytes);
  }

  async delete(key: string, expected?: Revision): Promise<void> {
    this.checkOpen();
    checkKey(key);
    if (expected !== undefined) checkInteger('expected', expected, 1);
    this.checkRevision(key, expected);
    this.records.delete(key);
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<WatchEvent> {
    this.checkOpen();
    checkPrefix(prefix);
    const { feeds } = this;
    const { entries, watchers } = this.records;
    const given = checkAbortSignal('signal', signal);
    if (given === undefined) throw invalidArgument('signal', signal, 'an AbortSignal');
    const feed: Feed = new Feed(given, () => {
      feeds.delete(feed);
      watchers.delete(watcher);
    });
    const watcher = { prefix, feed };
    feeds.add(feed);
    watchers.add(watcher);
    for (const entry of entries.values())
      if (isUnder(prefix, entry.key)) feed.push({ type: 'put', entry: copyOf(entry) });
    feed.push({ type: 'synced' });
    return feed;
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const feed of this.feeds) feed.end(closed());
  }

  private checkRevision(key: string, expected: Revision | undefined): void {
    const found = this.records.entries.get(key)?.revision ?? 0;
    if (expected !== undefined && expected !== found) throw conflict(key, expected, found);
  }

  private checkOpen(): void {
    if (this.isClosed) throw closed();
  }
}

const closed = () => new RdmaError('RDMA_ERR_CLOSED', 'the control store is closed');
