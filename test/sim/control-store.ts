// A control store of the simulation: one server, and a client for each process, between which anything may happen.
//
// Invariant: the server applies one request at a time, whole, or refuses it. Everything else may fail: requests and
// answers are late or lost, a request arrives after its time-out, a client is cut off, the server dies and has
// forgotten its last seconds. What it has kept is always the beginning of what was applied.
import { RdmaError } from '../../src/ts/core/errors.js';
import { Feed } from '../../src/ts/control/feed.js';
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
} from '../../src/ts/control/store.js';
import type { Timers } from '../../src/ts/core/deadline.js';
import type { SimProcess } from '../../src/ts/sim/process.js';
import type { SimWorld } from '../../src/ts/sim/world.js';

/** A write that was applied. */
export interface Applied {
  readonly atMs: number;
  readonly key: string;
  readonly before: Entry | undefined;
  readonly after: Entry | undefined;
  /** When it was asked for. */
  readonly askedMs: number;
}

/** How unkind the world is; each a probability for one request. */
export interface StoreTrouble {
  late: number;
  lost: number;
  answerLost: number;
}

export class SimControlServer {
  readonly entries = new Map<string, Entry>();
  isDown = false;
  /** When it last came back. */
  roseMs = 0;
  /** Whether what it had answered for was ever gone. */
  hasForgotten = false;
  onApply: ((applied: Applied) => void) | undefined;
  readonly clients = new Set<SimControlStore>();
  private log: Applied[] = [];
  private last: Revision = 0;

  constructor(readonly world: SimWorld) {}

  get nowMs(): number {
    return this.world.scheduler.nowMs;
  }

  write(key: string, value: Uint8Array | undefined, expected: Revision | undefined, askedMs: number): Revision {
    const before = this.entries.get(key);
    const found = before?.revision ?? 0;
    if (expected !== undefined && expected !== found) throw conflict(key, expected, found);
    if (value === undefined && before === undefined) return 0;
    const revision = ++this.last;
    const after = value === undefined ? undefined : { key, value, revision };
    if (after === undefined) this.entries.delete(key);
    else this.entries.set(key, after);
    const applied = { atMs: this.nowMs, key, before, after, askedMs };
    this.log.push(applied);
    this.onApply?.(applied);
    for (const client of this.clients) client.onChange(key, after);
    return revision;
  }

  /** Dies; what was applied in the last `forgetMs` is gone. */
  die(forgetMs: number): void {
    this.isDown = true;
    const keptUntil = this.nowMs - forgetMs;
    for (let op = this.log.at(-1); op !== undefined && op.atMs > keptUntil; op = this.log.at(-1)) {
      this.log.pop();
      this.hasForgotten = true;
      this.last--;
      if (op.before === undefined) this.entries.delete(op.key);
      else this.entries.set(op.key, op.before);
    }
    for (const client of this.clients) client.onDisconnect();
  }

  rise(): void {
    this.isDown = false;
    this.roseMs = this.nowMs;
    for (const client of this.clients) client.onConnect();
  }
}

interface Watch {
  readonly prefix: string;
  readonly feed: Feed;
  /** The keys that the watcher knows of. */
  readonly told: Set<string>;
  /** Grows when the connection breaks: what is under way then is lost. */
  era: number;
  isBegun: boolean;
  readyMs: number;
}

const gone = () => new RdmaError('RDMA_ERR_PEER_GONE', 'the simulated store is away');
const closed = () => new RdmaError('RDMA_ERR_CLOSED', 'the simulated store is closed');
const TIMEOUT_MS = 900;

/** What one process sees of the server. */
export class SimControlStore implements ControlStore {
  private isCut = false;
  private isClosed = false;
  private readonly watches = new Set<Watch>();
  /** Requests that wait in a buffer for the connection. */
  private held: (() => void)[] = [];

  constructor(
    private readonly server: SimControlServer,
    private readonly process: SimProcess,
    private readonly timers: Timers,
    private readonly trouble: StoreTrouble,
  ) {
    server.clients.add(this);
    process.onDeath.push(() => server.clients.delete(this));
  }

  get(key: string): Promise<Entry | undefined> {
    checkKey(key);
    return this.ask(() => this.server.entries.get(key));
  }

  put(key: string, value: Uint8Array | Json, options?: PutOptions): Promise<Revision> {
    checkKey(key);
    const expected = checkPutOptions(options);
    const bytes = bytesOf(value).slice();
    return this.ask((askedMs) => this.server.write(key, bytes, expected, askedMs));
  }

  async delete(key: string, expected?: Revision): Promise<void> {
    await this.ask((askedMs) => this.server.write(checkKey(key), undefined, expected, askedMs));
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<WatchEvent> {
    const feed: Feed = new Feed(signal, () => this.watches.delete(watch));
    const watch: Watch = { prefix: checkPrefix(prefix), feed, told: new Set(), era: 0, isBegun: false, readyMs: 0 };
    this.watches.add(watch);
    if (this.isConnected) this.resync(watch);
    return feed;
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const { feed } of [...this.watches]) feed.end(closed());
  }

  // ---- What the world does to it

  /** Cuts it off, or connects it again. */
  cut(isCut: boolean): void {
    if (this.isCut === isCut) return;
    this.isCut = isCut;
    if (isCut) this.onDisconnect();
    else if (!this.server.isDown) this.onConnect();
  }

  onDisconnect(): void {
    for (const watch of this.watches) watch.era++;
  }

  onConnect(): void {
    if (!this.isConnected) return;
    const { choices, scheduler } = this.server.world;
    for (const send of this.held.splice(0)) scheduler.add(choices.delay(0, 300), undefined, false, send);
    for (const watch of this.watches) {
      const { era } = watch;
      scheduler.add(choices.delay(1, 400), undefined, false, () => {
        if (watch.era === era && this.isConnected) this.resync(watch);
      });
    }
  }

  onChange(key: string, after: Entry | undefined): void {
    if (!this.isConnected) return;
    for (const watch of this.watches) {
      if (!isUnder(watch.prefix, key)) continue;
      this.deliver(watch, after === undefined ? { type: 'delete', key } : { type: 'put', entry: after });
    }
  }

  private get isConnected(): boolean {
    return !this.isCut && !this.server.isDown;
  }

  private resync(watch: Watch): void {
    watch.era++;
    const { entries } = this.server;
    const events: WatchEvent[] = watch.isBegun ? [{ type: 'restarted' }] : [];
    watch.isBegun = true;
    for (const key of watch.told) if (!entries.has(key)) events.push({ type: 'delete', key });
    for (const [key, entry] of entries) if (isUnder(watch.prefix, key)) events.push({ type: 'put', entry });
    for (const event of events) this.deliver(watch, event);
    this.deliver(watch, { type: 'synced' });
  }

  // In their order, or not at all.
  private deliver(watch: Watch, event: WatchEvent): void {
    const { scheduler, choices } = this.server.world;
    const { nowMs } = scheduler;
    const lateMs = choices.chance(this.trouble.late / 4, 'fault') ? choices.delay(100, 3000) : choices.delay(0.2, 8);
    watch.readyMs = Math.max(watch.readyMs, nowMs + lateMs);
    const { era } = watch;
    scheduler.add(watch.readyMs - nowMs, this.process, true, () => {
      if (watch.era !== era) return;
      if (event.type === 'put') watch.told.add(event.entry.key);
      else if (event.type === 'delete') watch.told.delete(event.key);
      watch.feed.push(event);
    });
  }

  private ask<T>(apply: (askedMs: number) => T): Promise<T> {
    if (this.isClosed) return Promise.reject(closed());
    const { server, process, trouble } = this;
    const { scheduler, choices } = server.world;
    const askedMs = server.nowMs;
    return new Promise((resolve, reject) => {
      const answer = (settle: () => void) => {
        if (!this.isConnected || choices.chance(trouble.answerLost, 'fault')) return;
        scheduler.add(choices.delay(0.2, 8), process, true, settle);
      };
      const arrive = () => {
        if (process.state === 'dead' && choices.chance(0.5, 'fault')) return;
        if (!this.isConnected) {
          if (choices.chance(0.6, 'fault')) this.held.push(arrive);
          return;
        }
        try {
          const value = apply(askedMs);
          answer(() => resolve(value));
        } catch (error) {
          answer(() => reject(error));
        }
      };
      if (!this.isConnected && choices.chance(0.5, 'fault')) {
        this.timers.after(20, () => reject(gone()));
        return;
      }
      this.timers.after(TIMEOUT_MS, () =>
        reject(new RdmaError('RDMA_ERR_TIMEOUT', 'no answer of the simulated store')),
      );
      if (choices.chance(trouble.lost, 'fault')) return;
      const isLate = choices.chance(trouble.late, 'fault');
      scheduler.add(isLate ? choices.delay(200, 5000) : choices.delay(0.2, 8), undefined, false, arrive);
    });
  }
}
