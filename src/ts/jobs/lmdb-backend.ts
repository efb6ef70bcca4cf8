// Jobs in an LMDB database in a folder, large values as files beside it.
//
//   ['job', id]              { entry, revision }
//   ['open', id]             owner: of jobs without an outcome
//   ['time', submitted, id]  all jobs, by time
//   ['end', expires, id]     jobs with an outcome, by when they expire
//   ['value', name]          bytes of a small value; of a large one, nothing: it is a file
//   ['owner', id]            beat
//   ['sum']                  { jobs, bytes }
//
// Invariant: as JobBackend says. A file is on disk before the record that names it is; it is removed after the record
// was. A change that was answered is on disk. Several processes of one machine may have the same folder open. Nobody
// calls lmdb while it closes, nor later: it would throw out of a timer, which ends the process.
import { statfs } from 'node:fs/promises';
import { RdmaError } from '../core/errors.js';
import type { JobBackend, Owner, RecordChange, Versioned, Written } from './backend.js';
import { commitBegins } from './commits.js';
import { hasEnded, type JobEntry, storedBytes } from './entry.js';
import type { Database, RootDatabase } from './lmdb-module.js';
import { isNoSpace, mayBeNoSpace, noSpace } from './no-space.js';
import { isDeadProcess, processName } from './process-name.js';
import type { ValueFiles } from './value-files.js';

/** Longer values are files. */
const MAX_INLINE_BYTES = 64 * 1024;
const IN_FILE = Buffer.alloc(0);
const POLL_MS = 200;
/** So many keys are read at a time: whoever lists jobs slowly must not keep pages that were freed since. */
const LIST_BATCH = 256;
/** New work is refused when the disk has less room than this, or than this share of it: outcomes need room. */
const RESERVE_BYTES = 64 * 2 ** 20;
const RESERVE_SHARE = 0.05;
/** So much of that no file may take: every change of a record needs some pages, a removal too. */
const RECORDS_SHARE = 0.25;

/** What lmdb's getStats() says of a tree, in pages. */
interface TreeStats {
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

/** And of the file, with the tree of what is free in it. */
interface FileStats extends TreeStats {
  readonly pageSize: number;
  readonly lastPageNumber: number;
  readonly free: TreeStats;
}

const META_PAGES = 2;
const pagesOf = (tree: TreeStats) => tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages;

interface Sum {
  readonly jobs: number;
  readonly bytes: number;
}

/** @internal */
export class LmdbBackend implements JobBackend {
  readonly name = 'lmdb';
  readonly isDurable = true;
  readonly pollMs = POLL_MS;
  private readonly listeners = new Set<(id: string) => void>();
  private isTight = false;
  private lastTurn: Promise<void> = Promise.resolve();
  private closing: Promise<void> | undefined;
  private callsUnderWay = 0;
  private lastCallEnded: () => void = () => {};

  /** @param table records, as JSON. @param values small values, as bytes */
  constructor(
    private readonly root: RootDatabase,
    private readonly table: Database,
    private readonly values: Database<Buffer, string>,
    private readonly files: ValueFiles,
    private readonly folder: string,
  ) {}

  // Closing waits for every call that has begun.
  private async call<T>(action: () => T | Promise<T>): Promise<T> {
    if (this.closing !== undefined) throw closed();
    this.callsUnderWay++;
    try {
      return await action();
    } finally {
      if (--this.callsUnderWay === 0) this.lastCallEnded();
    }
  }

  // As call(), seeing what other processes have changed since.
  private look<T>(action: () => T | Promise<T>): Promise<T> {
    return this.call(() => {
      this.root.resetReadTxn();
      return action();
    });
  }

  read(id: string): Promise<Versioned | undefined> {
    return this.look(() => this.table.get(['job', id]) as Versioned | undefined);
  }

  write(change: RecordChange): Promise<Written> {
    return this.call(() => this.writeNow(change));
  }

  private async writeNow(change: RecordChange): Promise<Written> {
    const { put, drop = [] } = change;
    const isFile = put !== undefined && put.bytes.length > MAX_INLINE_BYTES;
    try {
      if (change.maxBytes !== undefined) await this.checkDisk(put?.bytes.length ?? 0, isFile);
      if (isFile) await this.writeFile(put.name, put.bytes);
      // On disk before it is answered, and before a file goes that the older record names.
      const written = await this.commit(() => this.apply(change));
      if (written === 'done') await this.files.remove(drop);
      else if (isFile) await this.files.remove([put.name]);
      if (written === 'done' && (change.next === undefined || hasEnded(change.next))) {
        for (const listener of this.listeners) listener(change.id);
      }
      return written;
    } catch (error) {
      throw await this.failure(error);
    }
  }

  // Changes that meet share a transaction. What is too large together for the room that there is must not fail for
  // ever: after a failure for want of room each has its own, one after another.
  private commit<T>(action: () => T): Promise<T> {
    if (!this.isTight) return this.commitNow(action);
    const turn = this.lastTurn.then(() => this.commitNow(action));
    this.lastTurn = turn.then(
      () => {
        this.isTight = false;
      },
      () => {},
    );
    return turn;
  }

  // A file whose commit failed stays: it is not known whether its record was written. The sweep knows later.
  private async commitNow<T>(action: () => T): Promise<T> {
    const done = commitBegins();
    try {
      const written = this.root.transaction(action);
      // Of this batch, and so asked for now: that of a later batch never settles when that one fails.
      const flushed = this.root.flushed.then(() => {});
      flushed.catch(() => {}); // `written` says why
      const answer = await written;
      await flushed;
      return answer;
    } catch (error) {
      // What the disk said comes as a promise that rejects. One that nobody awaits would end the process.
      const { commitError } = error as { commitError?: Promise<never> };
      if (commitError !== undefined) await commitError;
      throw error;
    } finally {
      done();
    }
  }

  // Within a transaction: all of it or nothing.
  private apply({ id, expected, next, put, drop = [], maxBytes, owner }: RecordChange): Written {
    const { table, values } = this;
    const current = table.get(['job', id]) as Versioned | undefined;
    if ((current?.revision ?? 0) !== expected) return 'conflict';
    if (owner !== undefined && table.get(['owner', owner]) === undefined) return 'no-owner';
    const sum = this.sum();
    const before = current?.entry;
    const bytes = sum.bytes + storedBytes(next) - storedBytes(before);
    if (maxBytes !== undefined && bytes > maxBytes) return 'full';
    if (put !== undefined) {
      void values.put(put.name, put.bytes.length > MAX_INLINE_BYTES ? IN_FILE : Buffer.from(put.bytes));
    }
    for (const name of drop) void values.remove(name);
    const jobs = sum.jobs + (next === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
    void table.put(['sum'], { jobs, bytes });
    if (next === undefined) {
      void table.remove(['job', id]);
      if (before !== undefined) void table.remove(['time', before.submittedAtMs, id]);
    } else {
      void table.put(['job', id], { entry: next, revision: expected + 1 });
      if (before === undefined) void table.put(['time', next.submittedAtMs, id], 1);
    }
    if (next === undefined || hasEnded(next)) void table.remove(['open', id]);
    else void table.put(['open', id], next.owner);
    if (before?.expiresAtMs !== undefined) void table.remove(['end', before.expiresAtMs, id]);
    if (next?.expiresAtMs !== undefined) void table.put(['end', next.expiresAtMs, id], 1);
    return 'done';
  }

  private sum(): Sum {
    return (this.table.get(['sum']) as Sum | undefined) ?? { jobs: 0, bytes: 0 };
  }

  // Looks after it was written: others write at the same time.
  private async writeFile(name: string, bytes: Uint8Array): Promise<void> {
    await this.files.write(name, bytes);
    if (!(await this.isLow(0, RECORDS_SHARE))) return;
    await this.files.remove([name]);
    throw noSpace(this.folder, undefined);
  }

  // A database never shrinks: what removed jobs have left in it is room for records, and not for files.
  private async checkDisk(bytes: number, isFile: boolean): Promise<void> {
    if (await this.isLow(isFile ? bytes : bytes - this.unusedBytes())) throw noSpace(this.folder, undefined);
  }

  // Whether less than this share of the reserve would be left on the disk after so many bytes.
  private async isLow(bytes: number, share = 1): Promise<boolean> {
    const { bavail, blocks, bsize } = await statfs(this.folder);
    return bavail * bsize - bytes < share * Math.min(RESERVE_BYTES, RESERVE_SHARE * blocks * bsize);
  }

  // Of the pages of the database file, those that nothing is in.
  private unusedBytes(): number {
    this.root.resetReadTxn();
    const whole = this.root.getStats() as FileStats;
    const trees = [whole, whole.free, this.table.getStats() as TreeStats, this.values.getStats() as TreeStats];
    const used = trees.reduce((sum, tree) => sum + pagesOf(tree), META_PAGES);
    return Math.max(0, whole.lastPageNumber + 1 - used) * whole.pageSize;
  }

  private async failure(error: unknown): Promise<unknown> {
    if (error instanceof RdmaError) return error;
    const isFull = isNoSpace(error) || (mayBeNoSpace(error) && (await this.isLow(0)));
    if (!isFull) return error;
    this.isTight = true;
    return noSpace(this.folder, error);
  }

  readValue(name: string): Promise<Uint8Array | undefined> {
    return this.call(() => {
      const bytes = this.values.get(name);
      if (bytes === undefined) return undefined;
      // A copy: an array of its own, which the caller may keep and change.
      return bytes.length === 0 ? this.files.read(name) : new Uint8Array(bytes);
    });
  }

  async *list(): AsyncIterable<JobEntry> {
    let start: (string | number)[] = ['time', Number.MAX_SAFE_INTEGER];
    for (;;) {
      const range = { start, end: ['time'], reverse: true, exclusiveStart: true, limit: LIST_BATCH };
      const keys = await this.look(() => [...this.table.getKeys(range)] as [string, number, string][]);
      for (const key of keys) {
        const found = await this.call(() => this.table.get(['job', key[2]]) as Versioned | undefined);
        if (found !== undefined) yield found.entry;
      }
      if (keys.length < LIST_BATCH) return;
      start = keys.at(-1)!;
    }
  }

  open(): Promise<{ id: string; owner: string }[]> {
    return this.look(() => {
      const found: { id: string; owner: string }[] = [];
      for (const { key, value } of this.table.getRange({ start: ['open'], end: ['open', '\uffff'] })) {
        found.push({ id: (key as [string, string])[1], owner: value as string });
      }
      return found;
    });
  }

  expired(atMs: number, limit: number): Promise<string[]> {
    const range = { start: ['end'], end: ['end', atMs + 1], limit };
    return this.call(() => [...this.table.getKeys(range)].map((key) => (key as [string, number, string])[2]));
  }

  usage(): Promise<{ jobs: number; bytes: number }> {
    return this.look(() => this.sum());
  }

  ownerName(unique: string): string {
    return processName(unique);
  }

  owners(): Promise<Owner[]> {
    return this.look(() => {
      const found: Owner[] = [];
      for (const { key, value } of this.table.getRange({ start: ['owner'], end: ['owner', '\uffff'] })) {
        found.push({ id: (key as [string, string])[1], beat: value as number });
      }
      return found;
    });
  }

  beat(owner: string, expected: number): Promise<boolean> {
    return this.call(() => this.changeOwner(owner, expected, expected + 1));
  }

  endOwner({ id, beat }: Owner): Promise<boolean> {
    return this.call(() => this.changeOwner(id, beat, undefined));
  }

  private async changeOwner(id: string, expected: number, next: number | undefined): Promise<boolean> {
    try {
      return await this.commit(() => {
        const beat = (this.table.get(['owner', id]) as number | undefined) ?? 0;
        if (beat !== expected) return false;
        if (next === undefined) void this.table.remove(['owner', id]);
        else void this.table.put(['owner', id], next);
        return true;
      });
    } catch (error) {
      throw await this.failure(error);
    }
  }

  isDead(owner: string): boolean {
    return isDeadProcess(owner);
  }

  sweep(): Promise<number> {
    return this.look(() =>
      this.files.sweep((name) => {
        if (this.closing !== undefined) throw closed();
        return this.values.doesExist(name);
      }),
    );
  }

  onChange(call: (id: string | undefined) => void): () => void {
    this.listeners.add(call);
    return () => this.listeners.delete(call);
  }

  close(): Promise<void> {
    this.closing ??= this.closeRoot();
    return this.closing;
  }

  private async closeRoot(): Promise<void> {
    if (this.callsUnderWay > 0) {
      await new Promise<void>((resolve) => {
        this.lastCallEnded = resolve;
      });
    }
    await this.root.close();
  }
}

const closed = () => new RdmaError('RDMA_ERR_CLOSED', 'the store of jobs is closed');
