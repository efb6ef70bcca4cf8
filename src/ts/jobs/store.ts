// The store of jobs and their results, written once on top of a backend.
//
// Invariant: accept is idempotent by id; the first who settles a job has settled it, however often and from wherever
// it is tried; reading removes nothing. Work is refused when there is no room, results never are.
import { randomBytes } from 'node:crypto';
import { realTimers, type Timers } from '../core/deadline.js';
import { isRdmaError, RdmaError } from '../core/errors.js';
import { checkInteger } from '../core/validate.js';
import type { JobBackend, Owner, RecordChange, Versioned } from './backend.js';
import { Changes } from './changes.js';
import type { Encoded } from './codec.js';
import {
  begun,
  claimed,
  hasEnded,
  isSameRequest,
  type JobEntry,
  type Outcome,
  released,
  settled,
  type ValueRef,
} from './entry.js';
import type { JobState } from './job.js';
import { anotherRequest, notFound } from './job-id.js';
import { ValueCache } from './value-cache.js';

/** How a store is kept. */
export interface JobStoreOptions {
  /** How long an outcome is kept, in ms, 1 to 2^53 - 1; default an hour. */
  ttlMs?: number;
  /**
   * Bytes of all requests and results, from which on new jobs are refused; 1 to 2^53 - 1. Default: that of the store.
   */
  maxBytes?: number;
}

/** Where a store has its time and its random numbers from. */
export interface JobStorePort {
  readonly timers: Timers;
  /** Wall clock, in ms since 1970. */
  wallMs(): number;
  /** A name that nobody else has. */
  uniqueName(): string;
}

/** The port of real life. @internal */
export const systemJobPort: JobStorePort = {
  timers: realTimers,
  wallMs: () => Date.now(),
  uniqueName: () => randomBytes(12).toString('base64url'),
};

/** A job that is to be accepted. */
export type NewJob = Pick<
  JobEntry,
  | 'id'
  | 'tenant'
  | 'priority'
  | 'cost'
  | 'spread'
  | 'trace'
  | 'fingerprint'
  | 'submittedAtMs'
  | 'deadlineAtMs'
  | 'owner'
>;

/** Which jobs to list. */
export interface JobFilter {
  state?: JobState;
  tenant?: string;
  /** At most so many, the newest first; 1 to 100 000, default 1000. */
  limit?: number;
}

const HOUR_MS = 3_600_000;
/** Of a change whose record others change too. Each that fails means that another one has succeeded. */
const MAX_TRIES = 100;
const SWEEP_BATCH = 256;

/** Jobs and results. Made by memoryStore(), lmdbStore() and redisStore(). */
export class JobStore {
  /** `memory`, `lmdb` or `redis`. */
  readonly name: string;
  /** True when what was accepted outlives the process. */
  readonly isDurable: boolean;
  /** Where time and names come from. */
  readonly port: JobStorePort;
  private readonly ttlMs: number;
  private readonly maxBytes: number;
  private readonly changes: Changes;
  private readonly cache: ValueCache | undefined;
  private readonly stopListening: () => void;
  private closing: Promise<void> | undefined;

  /**
   * @param backend keeps the records
   * @param defaultMaxBytes when `options` have none
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  constructor(
    private readonly backend: JobBackend,
    options: JobStoreOptions,
    defaultMaxBytes: number,
    port: JobStorePort = systemJobPort,
  ) {
    this.port = port;
    this.name = backend.name;
    this.isDurable = backend.isDurable;
    this.ttlMs = checkInteger('ttlMs', options.ttlMs ?? HOUR_MS, 1);
    this.maxBytes = checkInteger('maxBytes', options.maxBytes ?? defaultMaxBytes, 1);
    this.changes = new Changes(backend.pollMs, port.timers);
    this.cache = backend.isDurable ? new ValueCache() : undefined;
    this.stopListening = backend.onChange(this.changes.wake);
  }

  /**
   * Accepts a job: when it answers, the job is stored. A job with this id that is there already stays as it is.
   *
   * @param job with its owner, which must have beaten
   * @param request as bytes
   * @returns the job, and whether it is new
   * @throws RdmaError RDMA_ERR_CONFLICT when the job that is there has another fingerprint; RDMA_ERR_STORE_FULL;
   *   RDMA_ERR_FENCED when the owner has lost its lease; RDMA_ERR_PEER_GONE
   */
  async accept(job: NewJob, request: Encoded): Promise<{ entry: JobEntry; isNew: boolean }> {
    const { bytes } = request;
    const value: ValueRef = { name: `${job.id}.request.${this.port.uniqueName()}`, bytes: bytes.length };
    const next: JobEntry = {
      ...job,
      state: 'queued',
      attempts: 0,
      term: 1,
      requestBytes: request.tensorBytes,
      request: value,
    };
    for (let i = 0; i < MAX_TRIES; i++) {
      const there = await this.backend.read(job.id);
      if (there !== undefined && !this.isExpired(there.entry)) {
        if (!isSameRequest(there.entry, job.fingerprint)) throw anotherRequest(job.id);
        // An answer that was lost: this call has stored it.
        return { entry: there.entry, isNew: there.entry.request?.name === value.name };
      }
      if (there !== undefined) {
        await this.remove(there);
        continue;
      }
      const put = { name: value.name, bytes };
      const change: RecordChange = { id: job.id, expected: 0, next, put, maxBytes: this.maxBytes, owner: job.owner };
      const written = await this.backend.write(change);
      if (written === 'done') return { entry: next, isNew: true };
      if (written === 'full') throw this.full(bytes.length);
      if (written === 'no-owner') throw new RdmaError('RDMA_ERR_FENCED', `${job.owner} has lost its lease`);
    }
    throw contended(job.id);
  }

  private full(bytes: number): RdmaError {
    const text = `the ${this.name} store has no room for ${bytes} bytes more of at most ${this.maxBytes}`;
    return new RdmaError('RDMA_ERR_STORE_FULL', text, {
      remedy: 'remove jobs, shorten ttlMs, or raise maxBytes; results are kept until they expire',
    });
  }

  /** What is known of a job. @returns undefined: there is none, or it has expired. @throws RDMA_ERR_PEER_GONE */
  async get(id: string): Promise<JobEntry | undefined> {
    const there = await this.backend.read(id);
    return there === undefined || this.isExpired(there.entry) ? undefined : there.entry;
  }

  private isExpired({ expiresAtMs }: JobEntry): boolean {
    return expiresAtMs !== undefined && expiresAtMs <= this.port.wallMs();
  }

  /**
   * The request of a job that has no outcome.
   *
   * @returns bytes of the caller's own; undefined when it is gone, because the job has ended meanwhile
   */
  async request({ request }: JobEntry): Promise<Uint8Array | undefined> {
    return request === undefined ? undefined : this.backend.readValue(request.name);
  }

  /** The result of a job that is done: bytes of the caller's own; undefined when it was removed meanwhile. */
  async result({ result }: JobEntry): Promise<Uint8Array | undefined> {
    if (result === undefined) return undefined;
    const known = this.cache?.get(result.name);
    if (known !== undefined) return known;
    const bytes = await this.backend.readValue(result.name);
    if (bytes !== undefined) this.cache?.add(result.name, bytes);
    return bytes;
  }

  /** Takes a job over from an owner that is gone. @returns undefined when that is not possible any more */
  claim({ id, term }: JobEntry, owner: string): Promise<JobEntry | undefined> {
    const isMine = (entry: JobEntry) => entry.owner === owner && entry.term === term + 1 && !hasEnded(entry);
    return this.change(id, (entry) => claimed(entry, term, owner), isMine, owner);
  }

  /** Counts one more attempt. @returns undefined when the job has ended or has a newer term */
  begin({ id, term, attempts }: JobEntry): Promise<JobEntry | undefined> {
    const isMine = (entry: JobEntry) => entry.term === term && entry.attempts > attempts && !hasEnded(entry);
    return this.change(id, (entry) => begun(entry, term), isMine);
  }

  /** Gives a job back, so that another one can claim it at once. */
  async release({ id, term }: JobEntry): Promise<void> {
    await this.change(
      id,
      (entry) => released(entry, term),
      () => false,
    );
  }

  // `isMine`: a change of ours whose answer was lost has been made already. It is asked before the first try too.
  private async change(
    id: string,
    step: (entry: JobEntry) => JobEntry | undefined,
    isMine: (entry: JobEntry) => boolean,
    owner?: string,
  ): Promise<JobEntry | undefined> {
    for (let i = 0; i < MAX_TRIES; i++) {
      const there = await this.backend.read(id);
      if (there === undefined) return undefined;
      if (isMine(there.entry)) return there.entry;
      const next = step(there.entry);
      if (next === undefined) return undefined;
      const change = { id, expected: there.revision, next, ...(owner === undefined ? {} : { owner }) };
      const written = await this.backend.write(change);
      if (written === 'done') return next;
      if (written === 'no-owner') return undefined;
    }
    throw contended(id);
  }

  /**
   * Gives a job its outcome, unless it has one.
   *
   * @param by who settles it: the same one again is the same call
   * @param term of its owner: a newer one makes this one void; undefined: whatever its term
   * @returns true when this is the job's outcome
   * @throws RdmaError RDMA_ERR_STORE_FULL when the disk is full; RDMA_ERR_PEER_GONE. Try again then: it is idempotent
   */
  async settle(id: string, outcome: Outcome, by: string, term?: number): Promise<boolean> {
    const bytes = outcome.state === 'done' ? outcome.bytes : undefined;
    const name = `${id}.result.${this.port.uniqueName()}`;
    const result = bytes === undefined ? undefined : { name, bytes: bytes.length };
    const put = bytes === undefined ? undefined : { name, bytes };
    for (let i = 0; i < MAX_TRIES; i++) {
      const there = await this.backend.read(id);
      if (there === undefined) return false;
      const { entry, revision } = there;
      if (hasEnded(entry)) return entry.settledBy === by;
      const atMs = this.port.wallMs();
      const next = settled(entry, outcome, { atMs, ttlMs: this.ttlMs, term, by, result });
      if (next === undefined) return false;
      const drop = entry.request === undefined ? [] : [entry.request.name];
      if ((await this.backend.write({ id, expected: revision, next, put, drop })) !== 'done') continue;
      if (put !== undefined) this.cache?.add(name, put.bytes);
      return true;
    }
    throw contended(id);
  }

  /**
   * Waits until a job has its outcome. A store that is away meanwhile only delays that.
   *
   * @throws RdmaError RDMA_ERR_NOT_FOUND when it is not there, or was removed; RDMA_ERR_ABORTED; RDMA_ERR_CLOSED
   */
  async wait(id: string, signal?: AbortSignal): Promise<JobEntry> {
    for (;;) {
      if (this.closing !== undefined) throw new RdmaError('RDMA_ERR_CLOSED', 'the store of jobs is closed');
      // Before the look: what happens after the look wakes it.
      const { woken, stop } = this.changes.next(id, signal);
      try {
        const entry = await this.get(id);
        if (entry === undefined) throw notFound(id);
        if (hasEnded(entry)) return entry;
        await woken;
      } catch (error) {
        if (!isAway(error) || this.backend.pollMs === undefined) throw error;
        await woken;
      } finally {
        stop();
      }
    }
  }

  /**
   * Removes a job that has its outcome.
   *
   * @returns false when there is none
   * @throws RdmaError RDMA_ERR_BUSY when it has no outcome; RDMA_ERR_PEER_GONE
   */
  async forget(id: string): Promise<boolean> {
    for (let i = 0; i < MAX_TRIES; i++) {
      const there = await this.backend.read(id);
      if (there === undefined) return false;
      if (!hasEnded(there.entry)) {
        throw new RdmaError('RDMA_ERR_BUSY', `job ${id} is ${there.entry.state}`, { remedy: 'cancel it first' });
      }
      if (await this.remove(there)) return true;
    }
    throw contended(id);
  }

  private async remove({ entry, revision }: Versioned): Promise<boolean> {
    const { id, request, result } = entry;
    const drop: string[] = [];
    for (const value of [request, result]) if (value !== undefined) drop.push(value.name);
    return (await this.backend.write({ id, expected: revision, next: undefined, drop })) === 'done';
  }

  /** Jobs, the newest first. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_PEER_GONE */
  async list(filter: JobFilter = {}): Promise<JobEntry[]> {
    const { state, tenant } = filter;
    const limit = checkInteger('limit', filter.limit ?? 1000, 1, 100_000);
    const found: JobEntry[] = [];
    for await (const entry of this.backend.list()) {
      if (state !== undefined && entry.state !== state) continue;
      if ((tenant !== undefined && entry.tenant !== tenant) || this.isExpired(entry)) continue;
      found.push(entry);
      if (found.length >= limit) break;
    }
    return found;
  }

  /** Jobs without an outcome, with their owners. */
  open(): Promise<{ id: string; owner: string }[]> {
    return this.backend.open();
  }

  /** Removes outcomes that have expired, and what crashes have left. @returns how many jobs */
  async sweep(): Promise<number> {
    let count = 0;
    for (;;) {
      const ids = await this.backend.expired(this.port.wallMs(), SWEEP_BATCH);
      let removed = 0;
      for (const id of ids) {
        const there = await this.backend.read(id);
        if (there !== undefined && this.isExpired(there.entry) && (await this.remove(there))) removed++;
      }
      count += removed;
      if (removed === 0 || ids.length < SWEEP_BATCH) break;
    }
    await this.backend.sweep();
    return count;
  }

  /** How many jobs there are, the bytes of their requests and results, and the limit of those. */
  async usage(): Promise<{ jobs: number; bytes: number; maxBytes: number }> {
    return { ...(await this.backend.usage()), maxBytes: this.maxBytes };
  }

  /** A name for one more of those who work on jobs, that nobody else has. */
  ownerName(): string {
    return this.backend.ownerName(this.port.uniqueName());
  }

  /** Those who work on jobs. */
  owners(): Promise<Owner[]> {
    return this.backend.owners();
  }

  /** See JobBackend.beat. */
  beat(owner: string, expected: number): Promise<boolean> {
    return this.backend.beat(owner, expected);
  }

  /** See JobBackend.endOwner. */
  endOwner(owner: Owner): Promise<boolean> {
    return this.backend.endOwner(owner);
  }

  /** See JobBackend.isDead. */
  isDead(owner: string): boolean {
    return this.backend.isDead(owner);
  }

  /** Closes it; a pending wait() rejects with RDMA_ERR_CLOSED. A second call answers the same promise. */
  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    await null; // `closing` is set before anybody is woken
    this.stopListening();
    this.changes.close();
    await this.backend.close();
  }

  /** As {@link JobStore.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** @internal True when the store did not answer: what was asked for may have happened or not. */
export function isAway(error: unknown): boolean {
  return isRdmaError(error) && error.code === 'RDMA_ERR_PEER_GONE';
}

function contended(id: string): RdmaError {
  return new RdmaError('RDMA_ERR_BUSY', `job ${id} was changed by others ${MAX_TRIES} times meanwhile`);
}
