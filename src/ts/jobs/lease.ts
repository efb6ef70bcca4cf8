// Being one of those who work on the jobs of a store, and noticing who is not any more.
//
// Each owner beats: a number that grows, by compare-and-set. Everyone else times the last number they saw on their own
// monotonic clock; one that has not grown for the length of a lease is ended, and does not beat again.
//
// Invariant: nobody's clock is compared with anybody else's. Time in which the store did not answer counts for nobody.
// An owner that was ended learns it at its next beat; what it does until then is fenced by the terms of its jobs.
import type { Timers } from '../core/deadline.js';
import type { JobStorage } from './storage.js';
import { isAway } from './store.js';

interface Observed {
  readonly beat: number;
  readonly sinceMs: number;
}

/** @internal */
export class OwnerLease {
  private name = '';
  private own = 0;
  private observed = new Map<string, Observed>();

  constructor(
    private readonly store: JobStorage,
    private readonly leaseMs: number,
    private readonly timers: Timers,
  ) {}

  /** Its name; another one after every join(). */
  get owner(): string {
    return this.name;
  }

  /** Becomes an owner, under a name of its own. @throws RdmaError RDMA_ERR_PEER_GONE */
  async join(): Promise<void> {
    const name = this.store.ownerName();
    await this.store.beat(name, 0);
    this.name = name;
    this.own = 1;
  }

  /** Beats. @returns false when the lease has ended. @throws RdmaError RDMA_ERR_PEER_GONE */
  async renew(): Promise<boolean> {
    if (await this.store.beat(this.name, this.own)) {
      this.own++;
      return true;
    }
    // It may have beaten already, and the answer was lost.
    const own = (await this.store.owners()).find(({ id }) => id === this.name);
    if (own === undefined) return false;
    this.own = own.beat;
    return true;
  }

  /**
   * Looks at the others and ends those who do not beat any more.
   *
   * @returns who is there, itself included
   * @throws RdmaError RDMA_ERR_PEER_GONE; everyone has a whole lease from the next look on
   */
  async look(): Promise<ReadonlySet<string>> {
    try {
      return await this.lookNow();
    } catch (error) {
      if (isAway(error)) this.observed.clear();
      throw error;
    }
  }

  private async lookNow(): Promise<ReadonlySet<string>> {
    const owners = await this.store.owners();
    // After the answer: what took long counts for nobody.
    const nowMs = this.timers.now();
    const seen = new Map<string, Observed>();
    const live = new Set<string>();
    for (const owner of owners) {
      const { id, beat } = owner;
      live.add(id);
      if (id === this.name) continue;
      const before = this.observed.get(id);
      const observed = before?.beat === beat ? before : { beat, sinceMs: nowMs };
      seen.set(id, observed);
      const isOver = nowMs - observed.sinceMs >= this.leaseMs || this.store.isDead(id);
      if (isOver && (await this.store.endOwner(owner))) live.delete(id);
    }
    this.observed = seen;
    return live;
  }

  /** Leaves: its jobs may be claimed at once. @throws RdmaError RDMA_ERR_PEER_GONE */
  async leave(): Promise<void> {
    const { name: id, own: beat } = this;
    await this.store.endOwner({ id, beat });
  }
}
