// Jobs in the memory of this process.
//
// Invariant: as JobBackend says; what is stored shares no memory with what was given or is answered.
import type { JobBackend, Owner, RecordChange, Versioned, Written } from './backend.js';
import { hasEnded, type JobEntry, storedBytes } from './entry.js';

/** @internal */
export class MemoryBackend implements JobBackend {
  readonly name = 'memory';
  readonly isDurable = false;
  readonly pollMs = undefined;
  private readonly records = new Map<string, Versioned>(); // in the order in which they came
  private readonly openJobs = new Map<string, string>(); // owners by job
  private readonly values = new Map<string, Uint8Array>();
  private readonly beats = new Map<string, number>();
  private readonly listeners = new Set<(id: string) => void>();
  private bytes = 0;

  async read(id: string): Promise<Versioned | undefined> {
    return this.records.get(id);
  }

  async write(change: RecordChange): Promise<Written> {
    const { id, expected, next, put, drop = [], maxBytes, owner } = change;
    const current = this.records.get(id);
    if ((current?.revision ?? 0) !== expected) return 'conflict';
    if (owner !== undefined && !this.beats.has(owner)) return 'no-owner';
    const bytes = this.bytes + storedBytes(next) - storedBytes(current?.entry);
    if (maxBytes !== undefined && bytes > maxBytes) return 'full';
    // An array of its own: a small Buffer is part of a larger one.
    if (put !== undefined) this.values.set(put.name, new Uint8Array(put.bytes));
    for (const name of drop) this.values.delete(name);
    this.bytes = bytes;
    if (next === undefined) this.records.delete(id);
    else this.records.set(id, { entry: next, revision: expected + 1 });
    if (next === undefined || hasEnded(next)) {
      this.openJobs.delete(id);
      for (const listener of this.listeners) listener(id);
    } else this.openJobs.set(id, next.owner);
    return 'done';
  }

  async readValue(name: string): Promise<Uint8Array | undefined> {
    return this.values.get(name)?.slice();
  }

  async *list(): AsyncIterable<JobEntry> {
    const all = [...this.records.values()].reverse();
    for (const { entry } of all) yield entry;
  }

  async open(): Promise<{ id: string; owner: string }[]> {
    return [...this.openJobs].map(([id, owner]) => ({ id, owner }));
  }

  async expired(atMs: number, limit: number): Promise<string[]> {
    const found: string[] = [];
    for (const { entry } of this.records.values()) {
      if (found.length >= limit) break;
      if (entry.expiresAtMs !== undefined && entry.expiresAtMs <= atMs) found.push(entry.id);
    }
    return found;
  }

  async usage(): Promise<{ jobs: number; bytes: number }> {
    return { jobs: this.records.size, bytes: this.bytes };
  }

  ownerName(unique: string): string {
    return unique;
  }

  async owners(): Promise<Owner[]> {
    return [...this.beats].map(([id, beat]) => ({ id, beat }));
  }

  async beat(owner: string, expected: number): Promise<boolean> {
    if ((this.beats.get(owner) ?? 0) !== expected) return false;
    this.beats.set(owner, expected + 1);
    return true;
  }

  async endOwner({ id, beat }: Owner): Promise<boolean> {
    if (this.beats.get(id) !== beat) return false;
    return this.beats.delete(id);
  }

  isDead(): boolean {
    return false;
  }

  async sweep(): Promise<number> {
    return 0;
  }

  onChange(call: (id: string | undefined) => void): () => void {
    this.listeners.add(call);
    return () => this.listeners.delete(call);
  }

  async close(): Promise<void> {}
}
