// A record that one process holds at a time, for as long as it renews.
//
// The holder renews by compare-and-set, each third of the lease. Everyone else times the last revision they saw on
// their own monotonic clock, and takes over when it has not changed for a whole lease. No expiry of the store is
// needed, and no two clocks are compared.
//
// Invariant: the holder stops by its own clock when a tenth of the lease is still left, counted from before it *asked*
// for its last renewal that succeeded; others begin a whole lease after they *saw* it. So no two hold at once, while
// clocks run at rates that differ by up to 5 %. When a store forgets a record, a process that sees it again waits for a
// whole lease, and takes nothing that it has not seen come back since. If a process is stopped between checking its
// lease and acting on it, only the term in its writes can fence the act.
import { Bell } from './bell.js';
import { checkLeaseOptions, type LeaseOptions, type LeaseSettings } from './lease-options.js';
import { type LeaseRecord, readLeaseRecord } from './lease-record.js';
import { withDeadline } from '../core/deadline.js';
import { asRdmaError, RdmaError } from '../core/errors.js';
import { Holding } from './holding.js';
import { type ControlStore, type Entry, type Json, type Revision, checkKey } from './store.js';
import { View } from './view.js';

/** The share of a lease for which its holder acts. */
const HOLDER_SHARE = 0.9;
/** A renewal that failed is tried again after this share of the lease, or twice that. */
const RETRY_SHARE = 1 / 30;
/**
 * A process that waits and sees no change for this share of the lease reads the record; more than half would be a gap.
 */
const PROBE_SHARE = 0.36;

/** @internal What the holder knows of the record that it holds. */
interface Held {
  readonly holding: Holding;
  revision: Revision;
  /** Of renewals whose answer is not known: when each was asked for. */
  readonly asked: Map<number, number>;
  /** The write that is under way. */
  writing: Promise<unknown>;
  readonly askedMs: number;
  /** The first beat that was written in it. */
  readonly firstBeat: number;
  /** Whether the watch has told of it: whatever it tells of others from then on has come later. */
  isTold: boolean;
}

export class Lease {
  /** An id that no other holder has had. */
  readonly holder: string;
  /** Why the store was last of no use; undefined while all goes well. */
  lastError: RdmaError | undefined;
  private readonly settings: LeaseSettings;
  private readonly view: View;
  private readonly isShared: boolean;
  private readonly bell: Bell;
  private held: Held | undefined;
  private beat = 0;
  private highest = 0;
  private data: Json;
  private outUntilMs = Number.NEGATIVE_INFINITY;
  private isNews = false;
  private isClosed = false;
  private readonly over: Promise<void>;

  /**
   * Begins to look for the lease; it is held when it can be had.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  constructor(store: ControlStore, key: string, options?: LeaseOptions);
  /**
   * @internal
   * @param shared a view that sees the key; its owner calls review() at each change of it
   */
  constructor(store: ControlStore, key: string, options: LeaseOptions, shared: View | undefined);
  constructor(
    private readonly store: ControlStore,
    private readonly key: string,
    options: LeaseOptions = {},
    shared?: View,
  ) {
    checkKey(key);
    this.settings = checkLeaseOptions(options);
    const { port, leaseMs, data } = this.settings;
    this.data = data;
    this.holder = port.id();
    this.bell = new Bell(port.timers);
    this.isShared = shared !== undefined;
    this.view = shared ?? new View(store, { prefix: key, leaseMs, port, onChange: () => this.review() });
    this.over = this.run();
  }

  /** Its holding; undefined unless it is held now, by this process's own clock. */
  get holding(): Holding | undefined {
    const holding = this.held?.holding;
    return holding?.isHeld() ? holding : undefined;
  }

  /** What the record said when it was last seen; undefined: there is none, or none was seen yet. */
  get seen(): LeaseRecord | undefined {
    return readLeaseRecord(this.view.get(this.key));
  }

  /** Changes what the record says of its holder. It is written at once, when it can be. */
  setData(data: Json): void {
    this.data = data;
    this.isNews = true;
    this.bell.ring();
  }

  /**
   * Gives the lease back, and stays away from it for the length of one. Nothing when it is not held.
   */
  async release(): Promise<void> {
    const { held } = this;
    const { port, leaseMs } = this.settings;
    this.outUntilMs = port.timers.now() + leaseMs;
    if (held === undefined) return;
    // Before it is written: others may act as soon as it is.
    this.lose(new RdmaError('RDMA_ERR_CLOSED', `${this.key} was given back`));
    const { term } = held.holding;
    await held.writing;
    try {
      await this.ask(this.store.put(this.key, this.record(term, true), { expected: held.revision }), leaseMs / 3);
    } catch (error) {
      // It ends by itself then.
      this.note(error);
    }
  }

  /** Gives the lease back, when it is held, and ends. */
  async close(): Promise<void> {
    if (!this.isClosed) {
      const released = this.release();
      this.isClosed = true;
      this.bell.ring();
      await released;
    }
    await Promise.all([this.over, this.isShared ? undefined : this.view.close()]);
  }

  /** @internal Writes the term at once. @throws RdmaError RDMA_ERR_CONFLICT when it is not held any more */
  async raise(holding: Holding, above: number): Promise<void> {
    if (holding.term > above) return;
    this.highest = Math.max(this.highest, above);
    holding.wanted = above + 1;
    this.isNews = true;
    this.bell.ring();
    while (holding.isHeld() && holding.term <= above) await holding.changed();
    holding.check();
  }

  /** @internal The view has changed. */
  review(): void {
    const entry = this.view.get(this.key);
    const record = readLeaseRecord(entry);
    if (record !== undefined) this.highest = Math.max(this.highest, record.term);
    const { held } = this;
    if (held !== undefined && record !== undefined) {
      // A store that has forgotten may give the next holder a lower revision.
      if (this.isMine(record)) held.isTold ||= record.beat >= held.firstBeat;
      else if (held.isTold || entry!.revision > held.revision) this.lose(this.displaced(record));
    }
    this.bell.ring();
  }

  private isMine(record: LeaseRecord): boolean {
    return record.holder === this.holder && !record.free;
  }

  private displaced({ holder, term }: LeaseRecord): RdmaError {
    return new RdmaError('RDMA_ERR_CONFLICT', `${this.key} is held by ${holder}, in term ${term}`);
  }

  private async run(): Promise<void> {
    while (!this.isClosed) {
      const waitMs = this.freeInMs();
      if (waitMs > 0) {
        await this.bell.wait(waitMs);
        continue;
      }
      this.held = await this.take();
      if (this.held === undefined) await this.bell.wait(this.pauseMs());
      else await this.keep(this.held);
    }
  }

  /** Milliseconds until it may be taken; 0: now. */
  private freeInMs(): number {
    const { view, key } = this;
    const { port, leaseMs, storeForgets } = this.settings;
    if (view.syncs === 0) return leaseMs;
    const nowMs = port.timers.now();
    if (nowMs < this.outUntilMs) return this.outUntilMs - nowMs;
    const entry = view.get(key);
    const record = readLeaseRecord(entry);
    const isFree = entry === undefined || record?.free === true;
    if (isFree && !storeForgets) return 0;
    // One that was given back is free as it is; but the store may have forgotten who took it since.
    const seenMs = record?.free === true ? view.steadyMs() : view.unchangedMs(key);
    const leftMs = (record?.leaseMs ?? leaseMs) - seenMs;
    if (leftMs <= 0) return 0;
    const silentMs = view.silentMs();
    const untilProbeMs = Math.min(leftMs, PROBE_SHARE * leaseMs) - silentMs;
    if (untilProbeMs > 0) return untilProbeMs;
    void view.probe(key).then((isHeard) => isHeard && this.bell.ring());
    return leaseMs / 10;
  }

  private async take(): Promise<Held | undefined> {
    const { view, key } = this;
    const { port, leaseMs, storeForgets } = this.settings;
    const { era } = view;
    const expected = view.get(key)?.revision ?? 0;
    const term = Math.max(this.highest, readLeaseRecord(view.get(key))?.term ?? 0) + 1;
    const askedMs = port.timers.now();
    const endMs = askedMs + HOLDER_SHARE * leaseMs;
    const record = this.record(term, false);
    let revision: Revision | undefined;
    try {
      revision = await this.ask(this.store.put(key, record, { expected }), leaseMs / 3);
    } catch (error) {
      this.note(error);
      if (codeOf(error) !== 'RDMA_ERR_TIMEOUT') return undefined;
    }
    // What was written counts once it is seen: in a store that has not been away since it was found free.
    const isSeen = () => {
      const entry = view.get(key);
      const seen = readLeaseRecord(entry);
      if (seen?.holder !== this.holder || seen.beat !== record.beat) return false;
      revision = entry!.revision;
      return true;
    };
    while (revision === undefined || storeForgets) {
      if (this.isClosed || view.era !== era || port.timers.now() >= endMs) return undefined;
      if (isSeen()) break;
      if ((view.get(key)?.revision ?? 0) > (revision ?? expected)) return undefined;
      await this.bell.wait(endMs - port.timers.now());
    }
    if (revision === undefined || this.isClosed || port.timers.now() >= endMs) return undefined;
    this.lastError = undefined;
    const holding = new Holding(this, term, endMs, port.timers, (error) => this.lose(error));
    const writing = Promise.resolve();
    return { holding, revision, asked: new Map(), writing, askedMs, firstBeat: record.beat, isTold: isSeen() };
  }

  private async keep(held: Held): Promise<void> {
    const { port, leaseMs, onHeld } = this.settings;
    const { holding, asked } = held;
    onHeld(holding);
    let nextMs = held.askedMs + leaseMs / 3;
    while (holding.isHeld() && !this.isClosed) {
      const nowMs = port.timers.now();
      if (nowMs < nextMs && !this.isNews) {
        await this.bell.wait(Math.min(nextMs - nowMs, holding.leftMs()));
        continue;
      }
      this.isNews = false;
      const term = Math.max(holding.term, holding.wanted);
      const record = this.record(term, false);
      asked.set(record.beat, nowMs);
      try {
        const write = this.store.put(this.key, record, { expected: held.revision });
        const answer = this.ask(write, Math.min(leaseMs / 3, holding.leftMs()));
        held.writing = answer.then(
          (revision) => this.renewed(held, revision, record),
          () => {},
        );
        await answer;
        await held.writing;
        nextMs = nowMs + leaseMs / 3;
      } catch (error) {
        this.note(error);
        nextMs = port.timers.now() + this.pauseMs();
        if (isUnknown(error)) await this.readBack(held);
      }
    }
    if (!this.isClosed) holding.end();
    if (this.held === held) this.held = undefined;
  }

  private renewed(held: Held, revision: Revision, { beat, term }: LeaseRecord): void {
    held.revision = revision;
    if (!held.holding.isHeld()) return;
    held.holding.extend(term, held.asked.get(beat)! + HOLDER_SHARE * this.settings.leaseMs);
    held.asked.clear();
    this.lastError = undefined;
  }

  /** What the store says after an answer that was lost, or that was not the expected one. */
  private async readBack(held: Held): Promise<void> {
    const { holding } = held;
    if (!holding.isHeld()) return;
    let entry: Entry | undefined;
    try {
      entry = await this.ask(this.store.get(this.key), Math.min(this.settings.leaseMs / 3, holding.leftMs()));
    } catch (error) {
      this.note(error);
      return;
    }
    const record = readLeaseRecord(entry);
    if (entry === undefined) held.revision = 0;
    else if (record === undefined) this.lose(new RdmaError('RDMA_ERR_CONFLICT', `${this.key} was overwritten`));
    else if (!this.isMine(record)) this.lose(this.displaced(record));
    else if (held.asked.has(record.beat)) this.renewed(held, entry.revision, record);
    else held.revision = entry.revision;
  }

  private lose(reason: RdmaError): void {
    const { held } = this;
    if (held === undefined) return;
    this.held = undefined;
    held.holding.stop(reason);
    this.bell.ring();
    this.settings.onLost(reason);
  }

  private record(term: number, free: boolean): LeaseRecord & { readonly [name: string]: Json } {
    const { holder, data } = this;
    return { holder, term, beat: ++this.beat, leaseMs: this.settings.leaseMs, free, data };
  }

  private ask<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
    const late = `the store did not answer for ${this.key}`;
    return withDeadline(answer, {
      timeoutMs: Math.max(1, Math.ceil(timeoutMs)),
      late,
      timers: this.settings.port.timers,
    });
  }

  private pauseMs(): number {
    const { port, leaseMs } = this.settings;
    return leaseMs * RETRY_SHARE * (1 + port.random());
  }

  private note(error: unknown): void {
    this.lastError = asRdmaError(error, 'the store failed');
  }
}

const codeOf = (error: unknown) => (error as RdmaError).code;
const isUnknown = (error: unknown) => codeOf(error) === 'RDMA_ERR_TIMEOUT' || codeOf(error) === 'RDMA_ERR_CONFLICT';
