// The control store on a key-value bucket of NATS JetStream (NATS documentation, "Key/Value Store").
//
// Invariant: a revision is the sequence number of the bucket's stream, and only the server compares it. Nothing relies
// on an expiry of the server: below 2.11 it ignores them silently.
import { withDeadline } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import { Feed } from './feed.js';
import { type BucketPlan, openBucket } from './nats-bucket.js';
import { NatsLink } from './nats-connection.js';
import { isBucketAway, isNoBucket, isWrongRevision, natsFailure } from './nats-errors.js';
import { loadNats, type Nats, type NatsBucket, type NatsManager } from './nats-module.js';
import { NatsWatch } from './nats-watch.js';
import {
  bytesOf,
  checkKey,
  checkPrefix,
  checkPutOptions,
  conflict,
  type ControlStore,
  type Entry,
  type Json,
  type PutOptions,
  type Revision,
  type WatchEvent,
} from './store.js';

export interface NatsControlStoreOptions {
  /** `nats://host:port` or `tls://host:port`, one or more of one cluster. */
  readonly servers: string | readonly string[];
  /** The bucket; whoever comes first makes it. Letters, digits, `_` and `-`; default `onepiece`. */
  readonly bucket?: string | undefined;
  /** Of a bucket that is made: on how many servers it is, 1 to 5; default 1. */
  readonly replicas?: number | undefined;
  /**
   * Of a bucket that is made: what it may hold at most; default: what the server allows. A nats-server of 2.9 drops the
   * oldest records of a bucket that is full, and tells nobody: leave it out there.
   */
  readonly maxBytes?: number | undefined;
  /** How long a call may take, 50 to 60 000 ms; default 1000. A third of the shortest lease, or less. */
  readonly timeoutMs?: number | undefined;
  /** How long opening it waits for a server, and later each attempt to come back to one; default 5000 ms. */
  readonly connectTimeoutMs?: number | undefined;
  /** Options of the client's connect(), as `user`, `pass`, `token`, `authenticator`, `tls`, `inboxPrefix`. */
  readonly connection?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Opens the control store on NATS JetStream.
 *
 * @throws RdmaError RDMA_ERR_PEER_GONE when no server answers; RDMA_ERR_UNAUTHENTICATED; RDMA_ERR_NOT_SUPPORTED without
 *   the client's packages, for a server without JetStream, and for a bucket that is there and drops old records, is
 *   sealed or is none; RDMA_ERR_STORE_FULL; RDMA_ERR_INVALID_ARGUMENT
 */
export async function natsControlStore(options: NatsControlStoreOptions): Promise<ControlStore> {
  const given = checkObject<NatsControlStoreOptions>('options', options);
  const { bucket = 'onepiece', replicas = 1, maxBytes, timeoutMs = 1000, connectTimeoutMs = 5000 } = given;
  const servers = typeof given.servers === 'string' ? [given.servers] : given.servers;
  if (!Array.isArray(servers) || servers.length === 0) throw invalidArgument('servers', servers, 'one address or more');
  for (const server of servers) checkString('servers', server, { minLength: 1, maxLength: 1000 });
  checkString('bucket', bucket, { minLength: 1, maxLength: 100, pattern: /^[-\w]+$/ });
  checkInteger('replicas', replicas, 1, 5);
  if (maxBytes !== undefined) checkInteger('maxBytes', maxBytes, 1024);
  checkInteger('timeoutMs', timeoutMs, 50, 60_000);
  checkInteger('connectTimeoutMs', connectTimeoutMs, 1, 600_000);
  const connection = checkObject<Record<string, unknown>>('connection', given.connection ?? {});
  const nats = loadNats();
  const name = `onepiece ${process.pid}`;
  const link = await NatsLink.open(nats, { servers, name, timeoutMs, connectTimeoutMs, connection });
  const store = new NatsControlStore(nats, link, { name: bucket, replicas, maxBytes }, timeoutMs);
  try {
    await store.open(connectTimeoutMs);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

class NatsControlStore implements ControlStore {
  private kv!: NatsBucket;
  private manager!: NatsManager;
  private readonly watches = new Set<NatsWatch>();
  private isClosed = false;

  constructor(
    private readonly nats: Nats,
    private readonly link: NatsLink,
    private readonly plan: BucketPlan,
    private readonly timeoutMs: number,
  ) {
    link.onAway = () => {
      for (const watch of this.watches) watch.stop();
    };
    link.onBack = () => {
      for (const watch of this.watches) watch.start();
    };
  }

  /** Finds the bucket, or makes it. A server that has just been started may not serve it yet. */
  async open(patienceMs: number): Promise<void> {
    const endMs = performance.now() + patienceMs;
    for (;;) {
      try {
        await this.openBucket();
        return;
      } catch (error) {
        const failure = natsFailure(error, this.where);
        const isLater = ['RDMA_ERR_PEER_GONE', 'RDMA_ERR_TIMEOUT'].includes(failure.code);
        if (!isLater || performance.now() > endMs) throw failure;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async get(key: string): Promise<Entry | undefined> {
    checkKey(key);
    return await this.ask(() => this.read(key));
  }

  async put(key: string, value: Uint8Array | Json, options?: PutOptions): Promise<Revision> {
    checkKey(key);
    const expected = checkPutOptions(options);
    const bytes = bytesOf(value).slice();
    return await this.ask(async () => {
      if (expected === undefined) return await this.kv.put(key, bytes);
      try {
        return await this.kv.put(key, bytes, { previousSeq: expected });
      } catch (error) {
        if (expected !== 0 || !isWrongRevision(error)) throw this.conflictOf(error, key, expected);
      }
      // Of a record that was deleted a mark is left, with a revision.
      const mark = await this.kv.get(key);
      if (mark !== null && mark.operation === 'PUT') throw conflict(key, 0, mark.revision);
      try {
        return await this.kv.put(key, bytes, { previousSeq: mark?.revision ?? 0 });
      } catch (error) {
        throw this.conflictOf(error, key, 0);
      }
    });
  }

  async delete(key: string, expected?: Revision): Promise<void> {
    checkKey(key);
    if (expected !== undefined) checkInteger('expected', expected, 1);
    await this.ask(async () => {
      if (expected === undefined) {
        if ((await this.read(key)) !== undefined) await this.kv.delete(key);
        return;
      }
      try {
        await this.kv.delete(key, { previousSeq: expected });
      } catch (error) {
        throw this.conflictOf(error, key, expected);
      }
    });
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<WatchEvent> {
    this.checkOpen();
    checkPrefix(prefix);
    const given = checkAbortSignal('signal', signal);
    if (given === undefined) throw invalidArgument('signal', signal, 'an AbortSignal');
    const feed: Feed = new Feed(given, () => {
      watch.close();
      this.watches.delete(watch);
    });
    const { link, bucket, manager } = this;
    const restore = (error: unknown) => this.restore(error);
    const watch: NatsWatch = new NatsWatch({ link, bucket, manager, restore }, prefix, feed);
    this.watches.add(watch);
    return feed;
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const { feed } of [...this.watches]) feed.end(closed());
    await this.link.close();
  }

  private get where(): string {
    return `bucket ${this.bucket} of ${this.link.where}`;
  }

  private get bucket(): string {
    return this.plan.name;
  }

  private async openBucket(): Promise<void> {
    const { nats, link, plan, where } = this;
    const { jetstream } = nats;
    const client = jetstream.jetstream(link.client, { timeout: this.timeoutMs });
    this.manager = await jetstream.jetstreamManager(link.client, { timeout: this.timeoutMs });
    this.kv = await openBucket(nats, client, this.manager, plan, where);
  }

  /** A bucket that was deleted is made again, empty. @returns whether it was */
  private async restore(error: unknown): Promise<boolean> {
    if (!isBucketAway(error) || this.isClosed || !this.link.isConnected) return false;
    try {
      await this.manager.streams.info(`KV_${this.bucket}`);
      return false;
    } catch (why) {
      if (!isNoBucket(why)) return false;
      await this.openBucket();
      return true;
    }
  }

  private async read(key: string): Promise<Entry | undefined> {
    const entry = await this.kv.get(key);
    if (entry === null || entry.operation !== 'PUT') return undefined;
    return { key, value: entry.value.slice(), revision: entry.revision };
  }

  private conflictOf(error: unknown, key: string, expected: Revision): unknown {
    return isWrongRevision(error) ? conflict(key, expected, undefined) : error;
  }

  private async ask<T>(call: () => Promise<T>): Promise<T> {
    this.checkOpen();
    await this.link.ready();
    this.checkOpen();
    const late = `${this.where} did not answer within ${this.timeoutMs} ms`;
    try {
      return await withDeadline(call(), { timeoutMs: this.timeoutMs, late });
    } catch (error) {
      if (this.isClosed) throw closed();
      const failure = natsFailure(error, this.where);
      if (!isBucketAway(error)) throw failure;
      if (!(await this.restore(error).catch(() => false))) throw failure;
      const remedy = 'nothing was written; whoever renews a record writes it again';
      throw new RdmaError('RDMA_ERR_NOT_FOUND', `${this.where} was deleted, and is empty now`, {
        remedy,
        cause: error,
      });
    }
  }

  private checkOpen(): void {
    if (this.isClosed) throw closed();
  }
}

const closed = () => new RdmaError('RDMA_ERR_CLOSED', 'the control store is closed');
