// The records that one watcher has seen in a store, and for how long it has watched.
//
// Invariant: the content of a record comes from the watch alone, in its order. The answer to a get() may be ahead of
// the watch: so it only shows that a record has changed, and when. Time counts only while the store was known to be
// reachable. After a gap, or a `synced`, every record has the whole of its time again: nobody could renew while the
// store was away, and it may have forgotten. All times are of this process's own monotonic clock.
import { withDeadline } from '../core/deadline.js';
import { asRdmaError, type RdmaError } from '../core/errors.js';
import { Bell } from './bell.js';
import type { ControlPort } from './port.js';
import type { ControlStore, Entry, Revision, WatchEvent } from './store.js';

/** How long a watch that has failed rests before it is tried again, in ms: half of that to all of it, by chance. */
const RETRY_MS = 400;

export interface ViewOptions {
  readonly prefix: string;
  /** Silence of more than half of it is a gap. */
  readonly leaseMs: number;
  readonly port: ControlPort;
  /** Called for each record that is new, changed (`entry`) or gone; and with no key after each `synced`. */
  readonly onChange: (key: string | undefined, entry: Entry | undefined) => void;
}

interface Sighting {
  readonly entry: Entry;
  /** The revision that an answer has told of, ahead of the watch; otherwise that of `entry`. */
  readonly newest: Revision;
  /** When that revision was first seen. */
  readonly sinceMs: number;
}

/** @internal A watch that goes on for as long as it is open. */
export class View {
  /** How often the watch was complete; 0: the present records are not known yet. */
  syncs = 0;
  /** Grows when the store may have forgotten what was seen before. */
  era = 0;
  /** Why the watch has failed; undefined while it goes well. */
  failure: RdmaError | undefined;
  private readonly sightings = new Map<string, Sighting>();
  /** Of the previous watch, not seen again yet. */
  private unseen = new Set<string>();
  private lastSeenMs = Number.NEGATIVE_INFINITY;
  private resumedMs = 0;
  /** When a record was last there that is not now. */
  private removedMs = Number.NEGATIVE_INFINITY;
  private isProbing = false;
  private readonly end = new AbortController();
  private readonly rest: Bell;
  private readonly over: Promise<void>;

  constructor(
    private readonly store: ControlStore,
    private readonly options: ViewOptions,
  ) {
    this.rest = new Bell(options.port.timers);
    this.over = this.run();
  }

  get(key: string): Entry | undefined {
    return this.sightings.get(key)?.entry;
  }

  /** All records that are there. */
  *entries(): IterableIterator<Entry> {
    for (const { entry } of this.sightings.values()) yield entry;
  }

  /** For how long this record, or its absence, was seen to be as it is, while the store was there. In ms. */
  unchangedMs(key: string): number {
    const sinceMs = this.sightings.get(key)?.sinceMs ?? this.removedMs;
    return this.syncs === 0 ? 0 : this.lastSeenMs - Math.max(sinceMs, this.resumedMs);
  }

  /** For how long the store was there, and forgot nothing. In ms. */
  steadyMs(): number {
    return this.syncs === 0 ? 0 : this.lastSeenMs - this.resumedMs;
  }

  /** Milliseconds since the store last answered. */
  silentMs(): number {
    return this.options.port.timers.now() - this.lastSeenMs;
  }

  /**
   * Asks the store for a record, so that time counts though nothing changes. Once at a time.
   *
   * @returns whether the store has answered
   */
  async probe(key: string): Promise<boolean> {
    const { port, leaseMs } = this.options;
    if (this.isProbing || this.syncs === 0) return false;
    this.isProbing = true;
    try {
      const { era } = this;
      // What the answer says was so after the question; the answer itself may have waited for a stopped process.
      const askedMs = port.timers.now();
      const asked = withDeadline(this.store.get(key), {
        timeoutMs: Math.ceil(leaseMs / 4),
        signal: this.end.signal,
        late: 'the store did not answer',
        timers: port.timers,
      });
      const entry = await asked;
      if (this.end.signal.aborted || this.era !== era) return false;
      this.failure = undefined;
      this.hear(askedMs);
      this.hearOf(key, entry);
      return true;
    } catch (error) {
      this.fail(error);
      return false;
    } finally {
      this.isProbing = false;
    }
  }

  // What an answer says that the watch has not told yet.
  private hearOf(key: string, entry: Entry | undefined): void {
    const known = this.sightings.get(key);
    if (entry === undefined || entry.revision < (known?.newest ?? 0)) return;
    // A store that has forgotten may have given the revision to another record.
    const isKnown = entry.revision === known?.newest;
    if (isKnown && (entry.revision !== known.entry.revision || isSameValue(known.entry, entry))) return;
    if (known === undefined) this.removedMs = this.lastSeenMs;
    else this.sightings.set(key, { ...known, newest: entry.revision, sinceMs: this.lastSeenMs });
  }

  /** Ends the watch. */
  close(): Promise<void> {
    this.end.abort();
    this.rest.ring();
    return this.over;
  }

  private async run(): Promise<void> {
    const { signal } = this.end;
    const { prefix, port } = this.options;
    while (!signal.aborted) {
      this.unseen = new Set(this.sightings.keys());
      try {
        for await (const event of this.store.watch(prefix, signal)) this.take(event);
      } catch (error) {
        this.fail(error);
      }
      if (signal.aborted) return;
      this.restart();
      await this.rest.wait(RETRY_MS * (0.5 + 0.5 * port.random()));
    }
  }

  private take(event: WatchEvent): void {
    if (this.end.signal.aborted) return;
    if (event.type === 'put') {
      this.hear();
      this.see(event.entry);
    } else if (event.type === 'delete') {
      this.hear();
      this.remove(event.key);
    } else if (event.type === 'restarted') this.restart();
    else this.sync();
  }

  // Counted at once, before the present records have come: what is written meanwhile may follow what is forgotten.
  private restart(): void {
    this.era++;
    this.resumedMs = this.options.port.timers.now();
    for (const [key, seen] of this.sightings) this.sightings.set(key, { ...seen, newest: seen.entry.revision });
  }

  private sync(): void {
    for (const key of this.unseen) this.remove(key);
    this.unseen.clear();
    this.failure = undefined;
    this.syncs++;
    this.era++;
    this.lastSeenMs = this.options.port.timers.now();
    this.resumedMs = this.lastSeenMs;
    this.options.onChange(undefined, undefined);
  }

  private hear(nowMs = this.options.port.timers.now()): void {
    if (nowMs < this.lastSeenMs) return;
    if (nowMs - this.lastSeenMs > this.options.leaseMs / 2) this.resumedMs = nowMs;
    this.lastSeenMs = nowMs;
  }

  private see(entry: Entry): void {
    const { key, revision } = entry;
    this.unseen.delete(key);
    const known = this.sightings.get(key);
    // A store that has forgotten may give a revision twice.
    if (known?.entry.revision === revision && isSameValue(known.entry, entry)) return;
    this.sightings.set(key, { entry, newest: revision, sinceMs: this.lastSeenMs });
    this.options.onChange(key, entry);
  }

  private remove(key: string): void {
    this.unseen.delete(key);
    if (!this.sightings.delete(key)) return;
    this.removedMs = this.options.port.timers.now();
    this.options.onChange(key, undefined);
  }

  private fail(error: unknown): void {
    this.failure = asRdmaError(error, 'the store failed');
  }
}

function isSameValue(a: Entry, b: Entry): boolean {
  return a === b || Buffer.compare(a.value, b.value) === 0;
}
