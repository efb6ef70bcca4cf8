// Jobs in Redis, for several gateways. All keys have one hash tag, so that a cluster keeps them together.
//
//   {prefix}:job:ID      hash: revision, entry (JSON), bytes
//   {prefix}:open        hash: owners by job, of jobs without an outcome
//   {prefix}:time, :end  sorted sets: jobs by when they were submitted, by when they expire
//   {prefix}:value:NAME  hash: chunks by number
//   {prefix}:owners      hash: beats by owner;  {prefix}:owner:ID is there as long as the owner is
//   {prefix}:sum         hash: jobs, bytes
//   {prefix}:ended       channel: ids of jobs that ended or were removed
//
// Invariant: as JobBackend says. A value is written before its record and expires by itself unless the record names it. A wake
// that was missed is made up for by looking when the connection is back, and from time to time.
import type { JobBackend, NewValue, Owner, RecordChange, Versioned, Written } from './backend.js';
import { hasEnded, type JobEntry, storedBytes } from './entry.js';
import type { RedisConnection } from './redis-connection.js';
import { BEAT, WRITE } from './redis-scripts.js';

const CHUNK_BYTES = 8 * 2 ** 20;
/** A value is named by a record within less than this. */
const ORPHAN_AGE_MS = 10 * 60_000;
const POLL_MS = 1000;
const PAGE = 256;
const RECORD = ['revision', 'entry'];

/** What a client answers with bytes, where it otherwise answers with text. */
interface BytesClient {
  hGet(key: string, field: string): Promise<Buffer | null>;
}

/** @internal */
export class RedisBackend implements JobBackend {
  readonly name = 'redis';
  readonly isDurable = true;
  readonly pollMs = POLL_MS;

  /** @param listeners are called by the one who has made the connections */
  constructor(
    private readonly connection: RedisConnection,
    private readonly subscriber: RedisConnection,
    private readonly bytesClient: BytesClient,
    private readonly prefix: string,
    private readonly listeners: Set<(id: string | undefined) => void>,
  ) {}

  private key(...parts: string[]): string {
    return [`{${this.prefix}}`, ...parts].join(':');
  }

  async read(id: string): Promise<Versioned | undefined> {
    const [revision, entry] = await this.connection.call((client) => client.hmGet(this.key('job', id), RECORD));
    if (typeof revision !== 'string' || typeof entry !== 'string') return undefined;
    return { revision: Number(revision), entry: JSON.parse(entry) };
  }

  async write(change: RecordChange): Promise<Written> {
    const { id, expected, next, put, drop = [], maxBytes, owner } = change;
    if (put !== undefined) await this.writeValue(put);
    const isOpen = next !== undefined && !hasEnded(next);
    const keys = [
      this.key('job', id),
      this.key('open'),
      this.key('time'),
      this.key('end'),
      this.key('sum'),
      this.key('owner', owner ?? ''),
      this.key('value', put?.name ?? ''),
      ...drop.map((name) => this.key('value', name)),
    ];
    const args = [
      id,
      `${expected}`,
      next === undefined ? '' : JSON.stringify(next),
      `${storedBytes(next)}`,
      `${maxBytes ?? ''}`,
      owner === undefined ? '0' : '1',
      put === undefined ? '0' : '1',
      `${next?.submittedAtMs ?? ''}`,
      `${next?.expiresAtMs ?? ''}`,
      isOpen ? '1' : '0',
      next?.owner ?? '',
      this.key('ended'),
    ];
    // Whose answer was lost is a conflict the second time: its caller looks whose the record is.
    const written = await this.connection.call((client) => client.eval(WRITE, { keys, arguments: args }));
    // It has expired meanwhile: it is written again.
    return written === 'lost' ? 'conflict' : (written as Written);
  }

  private async writeValue({ name, bytes }: NewValue): Promise<void> {
    const key = this.key('value', name);
    for (let at = 0, i = 0; at < bytes.length || i === 0; at += CHUNK_BYTES, i++) {
      const chunk = Buffer.from(bytes.buffer, bytes.byteOffset + at, Math.min(CHUNK_BYTES, bytes.length - at));
      await this.connection.call((client) => client.hSet(key, `${i}`, chunk));
      await this.connection.call((client) => client.pExpire(key, ORPHAN_AGE_MS));
    }
  }

  async readValue(name: string): Promise<Uint8Array | undefined> {
    const key = this.key('value', name);
    const count = await this.connection.call((client) => client.hLen(key));
    if (count === 0) return undefined;
    const chunks: Buffer[] = [];
    for (let i = 0; i < count; i++) {
      const chunk = await this.connection.call(() => this.bytesClient.hGet(key, `${i}`));
      if (chunk === null) return undefined; // removed meanwhile
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  async *list(): AsyncIterable<JobEntry> {
    for (let from = 0; ; from += PAGE) {
      const ids = await this.connection.call((client) =>
        client.zRange(this.key('time'), from, from + PAGE - 1, { REV: true }),
      );
      const records = await Promise.all(ids.map((id) => this.read(id)));
      for (const record of records) if (record !== undefined) yield record.entry;
      if (ids.length < PAGE) return;
    }
  }

  async open(): Promise<{ id: string; owner: string }[]> {
    const all = await this.connection.call((client) => client.hGetAll(this.key('open')));
    return Object.entries(all).map(([id, owner]) => ({ id, owner }));
  }

  async expired(atMs: number, limit: number): Promise<string[]> {
    const page = { BY: 'SCORE', LIMIT: { offset: 0, count: limit } } as const;
    return this.connection.call((client) => client.zRange(this.key('end'), '-inf', atMs, page));
  }

  async usage(): Promise<{ jobs: number; bytes: number }> {
    const [jobs, bytes] = await this.connection.call((client) => client.hmGet(this.key('sum'), ['jobs', 'bytes']));
    return { jobs: Number(jobs ?? 0), bytes: Number(bytes ?? 0) };
  }

  ownerName(unique: string): string {
    return unique;
  }

  async owners(): Promise<Owner[]> {
    const all = await this.connection.call((client) => client.hGetAll(this.key('owners')));
    return Object.entries(all).map(([id, beat]) => ({ id, beat: Number(beat) }));
  }

  beat(owner: string, expected: number): Promise<boolean> {
    return this.changeOwner(owner, expected, `${expected + 1}`);
  }

  endOwner({ id, beat }: Owner): Promise<boolean> {
    return this.changeOwner(id, beat, '');
  }

  private async changeOwner(id: string, expected: number, next: string): Promise<boolean> {
    const keys = [this.key('owners'), this.key('owner', id)];
    const args = [id, `${expected}`, next];
    return (await this.connection.call((client) => client.eval(BEAT, { keys, arguments: args }))) === 1;
  }

  isDead(): boolean {
    return false;
  }

  // Values that no record names expire by themselves.
  async sweep(): Promise<number> {
    return 0;
  }

  onChange(call: (id: string | undefined) => void): () => void {
    this.listeners.add(call);
    return () => this.listeners.delete(call);
  }

  async close(): Promise<void> {
    this.subscriber.close();
    this.connection.close();
  }
}
