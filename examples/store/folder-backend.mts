// A job store of your own: each job a JSON file, each request and result a file beside it, for one process at a time.
//
// The library asks for records with compare-and-set, for values, and for owners that beat (JobBackend); JobStore makes
// a store of that. test/examples/store.test.ts runs the library's own conformance suite over this file: do that with
// yours too.
//
// Invariant: a file that has its name is whole and on disk. A record is written after the value that it names, and a
// value is removed after the record that named it; so a crash leaves a value too many and never one too few.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobBackend, JobEntry, Owner, RecordChange, Versioned, Written } from 'onepiece-rdma/jobs';

const storedBytes = (entry?: JobEntry) => (entry?.request?.bytes ?? 0) + (entry?.result?.bytes ?? 0);
const hasEnded = (entry: JobEntry) => entry.state !== 'queued' && entry.state !== 'running';

/** Made by {@link FolderBackend.open}. */
export class FolderBackend implements JobBackend {
  readonly name = 'folder';
  readonly isDurable = true; // what was accepted outlives the process
  readonly pollMs = undefined; // no other process changes it
  readonly #folder: string;
  /** All records; those on disk are the same. In the order in which they came. */
  readonly #records = new Map<string, Versioned>();
  readonly #beats = new Map<string, number>();
  readonly #listeners = new Set<(id: string) => void>();
  #bytes = 0;
  /** The change before: one at a time makes compare-and-set atomic. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Opens a folder; it is made when it is not there. @throws the system's error */
  static async open(folder: string): Promise<FolderBackend> {
    const backend = new FolderBackend(folder);
    await mkdir(join(folder, 'jobs'), { recursive: true, mode: 0o700 });
    await mkdir(join(folder, 'values'), { recursive: true, mode: 0o700 });
    const found: Versioned[] = [];
    for (const name of await readdir(join(folder, 'jobs'))) {
      if (!name.endsWith('.json')) continue; // a crash left half of one
      found.push(JSON.parse(await readFile(join(folder, 'jobs', name), 'utf8')) as Versioned);
    }
    found.sort((a, b) => a.entry.submittedAtMs - b.entry.submittedAtMs);
    for (const record of found) {
      backend.#records.set(record.entry.id, record);
      backend.#bytes += storedBytes(record.entry);
    }
    return backend;
  }

  async read(id: string): Promise<Versioned | undefined> {
    return this.#records.get(id);
  }

  write(change: RecordChange): Promise<Written> {
    return this.#afterLast(() => this.#writeNow(change));
  }

  async #writeNow({ id, expected, next, put, drop = [], maxBytes, owner }: RecordChange): Promise<Written> {
    const current = this.#records.get(id);
    if ((current?.revision ?? 0) !== expected) return 'conflict';
    if (owner !== undefined && !this.#beats.has(owner)) return 'no-owner';
    const bytes = this.#bytes + storedBytes(next) - storedBytes(current?.entry);
    if (maxBytes !== undefined && bytes > maxBytes) return 'full';

    if (put !== undefined) await this.#writeFile('values', put.name, put.bytes);
    if (next === undefined) await rm(join(this.#folder, 'jobs', `${id}.json`), { force: true });
    else {
      const record: Versioned = { entry: next, revision: expected + 1 };
      await this.#writeFile('jobs', `${id}.json`, JSON.stringify(record));
      this.#records.set(id, record);
    }
    if (next === undefined) this.#records.delete(id);
    this.#bytes = bytes;
    for (const name of drop) await rm(join(this.#folder, 'values', name), { force: true });
    if (next === undefined || hasEnded(next)) for (const listener of this.#listeners) listener(id);
    return 'done';
  }

  /** Whole and on disk, name included, when it answers: fsync(2), NOTES. */
  async #writeFile(kind: 'jobs' | 'values', name: string, bytes: Uint8Array | string): Promise<void> {
    const folder = join(this.#folder, kind);
    const part = join(folder, `${name}.part`);
    const file = await open(part, 'w', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, join(folder, name));
    const directory = await open(folder, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  async readValue(name: string): Promise<Uint8Array | undefined> {
    return await readFile(join(this.#folder, 'values', name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
  }

  async *list(): AsyncIterable<JobEntry> {
    for (const { entry } of [...this.#records.values()].reverse()) yield entry; // the newest first
  }

  async open(): Promise<{ id: string; owner: string }[]> {
    const entries = [...this.#records.values()].map(({ entry }) => entry);
    return entries.filter((entry) => !hasEnded(entry)).map(({ id, owner }) => ({ id, owner }));
  }

  async expired(atMs: number, limit: number): Promise<string[]> {
    const entries = [...this.#records.values()].map(({ entry }) => entry);
    const late = entries.filter(({ expiresAtMs }) => expiresAtMs !== undefined && expiresAtMs <= atMs);
    return late.slice(0, limit).map(({ id }) => id);
  }

  async usage(): Promise<{ jobs: number; bytes: number }> {
    return { jobs: this.#records.size, bytes: this.#bytes };
  }

  // Owners live in this process alone: after a restart none is there, and their jobs may be claimed at once.

  ownerName(unique: string): string {
    return unique;
  }

  async owners(): Promise<Owner[]> {
    return [...this.#beats].map(([id, beat]) => ({ id, beat }));
  }

  async beat(owner: string, expected: number): Promise<boolean> {
    if ((this.#beats.get(owner) ?? 0) !== expected) return false;
    this.#beats.set(owner, expected + 1);
    return true;
  }

  async endOwner({ id, beat }: Owner): Promise<boolean> {
    return this.#beats.get(id) === beat && this.#beats.delete(id);
  }

  isDead(): boolean {
    return false;
  }

  /** Removes values that no record names: a crash has left them. */
  sweep(): Promise<number> {
    return this.#afterLast(async () => {
      const entries = [...this.#records.values()].map(({ entry }) => entry);
      const named = new Set(entries.flatMap(({ request, result }) => [request?.name, result?.name]));
      const orphans = (await readdir(join(this.#folder, 'values'))).filter((name) => !named.has(name));
      for (const name of orphans) await rm(join(this.#folder, 'values', name), { force: true });
      return orphans.length;
    });
  }

  onChange(call: (id: string | undefined) => void): () => void {
    this.#listeners.add(call);
    return () => this.#listeners.delete(call);
  }

  async close(): Promise<void> {
    await this.#last; // the changes under way end first
  }

  #afterLast<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {}); // the caller gets the failure; the next change goes on
    return done;
  }
}
