// What there is to see of a cluster: its nodes, which place runs where, what has moved, what does not fit, and what was
// decided.
//
// Invariant: it writes nothing, and asks the store only while somebody looks, once a second for everybody together.
// While the store is away it shows what it saw last, and says so.
import { type ClusterEvent, type ClusterOverview, listClusterEvents, overview } from '../cluster/index.js';
import type { ControlStore } from '../control/index.js';
import { asRdmaError, type RdmaError } from '../core/errors.js';

/** A place that works on another node than before. */
export interface PlaceMove {
  readonly place: string;
  readonly from: string;
  readonly to: string;
  /** When it was seen, by the wall clock: ms since 1970. */
  readonly atMs: number;
}

/** Answered by `/v1/cluster`. */
export interface ClusterSnapshot {
  readonly schemaVersion: 1;
  /** When the store was seen, by the wall clock: ms since 1970. */
  readonly atMs: number;
  /** Why the store could not be looked at just now: the view is older then. null: it could. */
  readonly storeFailure: string | null;
  /** The app that this server is a gateway of. */
  readonly app: string;
  readonly leader: ClusterOverview['leader'];
  readonly nodes: ClusterOverview['nodes'];
  readonly apps: ClusterOverview['apps'];
  /** Of the places of this app, since the server started: the newest first. */
  readonly moves: readonly PlaceMove[];
  /** What was decided, the newest first. */
  readonly events: readonly ClusterEvent[];
}

/** What a gateway to a cluster knows without asking: a ClusterPipeline. */
export interface ClusterWatched {
  status(): { readonly places: Readonly<Record<string, { readonly node: string }>> };
}

const LOOK_MS = 1000;
const STORE_MS = 3000;
const MAX_MOVES = 100;
const MAX_EVENTS = 100;

/** Made for one gateway. */
export class ClusterObserver implements Disposable {
  private readonly nodes = new Map<string, string>(); // of each place, as it was seen last
  private readonly timer: NodeJS.Timeout;
  private moves: PlaceMove[] = [];
  private seen: Omit<ClusterSnapshot, 'moves' | 'storeFailure'> | undefined;
  private seenAt = Number.NEGATIVE_INFINITY;
  private looking: Promise<void> | undefined;
  private failure: RdmaError | undefined;

  /** @param store that of the cluster; the caller closes it */
  constructor(
    private readonly app: string,
    private readonly store: ControlStore,
    private readonly pipeline: ClusterWatched,
  ) {
    this.look();
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.timer.unref();
  }

  // Costs no question: the gateway follows the plan anyway.
  private look(): void {
    let places: Readonly<Record<string, { readonly node: string }>>;
    try {
      ({ places } = this.pipeline.status());
    } catch {
      return; // it is closed
    }
    for (const [place, { node }] of Object.entries(places)) {
      const from = this.nodes.get(place);
      this.nodes.set(place, node);
      if (from === undefined || from === node) continue;
      this.moves = [{ place, from, to: node, atMs: Date.now() }, ...this.moves].slice(0, MAX_MOVES);
    }
    for (const place of this.nodes.keys()) if (places[place] === undefined) this.nodes.delete(place);
  }

  /**
   * What there is to see now.
   *
   * @throws those of ControlStore.watch, when the store has never been seen
   */
  async snapshot(): Promise<ClusterSnapshot> {
    if (performance.now() - this.seenAt >= LOOK_MS) {
      this.looking ??= this.ask().finally(() => {
        this.looking = undefined;
      });
      await this.looking;
    }
    this.look();
    if (this.seen === undefined) throw this.failure!;
    return { ...this.seen, storeFailure: this.failure?.message ?? null, moves: this.moves };
  }

  private async ask(): Promise<void> {
    try {
      const { store, app } = this;
      const [{ leader, nodes, apps }, events] = await Promise.all([
        overview(store, STORE_MS),
        listClusterEvents(store, STORE_MS),
      ]);
      const newest = events.slice(-MAX_EVENTS).reverse();
      this.seen = { schemaVersion: 1, atMs: Date.now(), app, leader, nodes, apps, events: newest };
      this.failure = undefined;
    } catch (error) {
      this.failure = asRdmaError(error);
    }
    this.seenAt = performance.now();
  }

  /** Looks no more. */
  close(): void {
    clearInterval(this.timer);
  }

  /** As {@link ClusterObserver.close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
