// The election of one leader among candidates.
//
// Invariant: there is at most one leader at a time, each in a term of its own that is higher than all before; lease.ts
// says how, and what it requires of clocks. The term fences everything that a leader writes.
import { type Fenced, putFenced } from './fenced.js';
import type { Holding } from './holding.js';
import { Lease } from './lease.js';
import type { LeaseOptions } from './lease-options.js';
import { type RdmaError, RdmaError as Failure } from '../core/errors.js';
import { type WaitLimits, withDeadline } from '../core/deadline.js';
import { checkFunction, checkObject, checkString } from '../core/validate.js';
import type { ControlStore, Json, PutOptions, Revision } from './store.js';

/** Who leads, as far as is known here. */
export interface Leader {
  readonly name: string;
  readonly term: number;
  /** What it tells the others, as its address. */
  readonly data: Json;
}

export interface ElectionOptions extends Omit<LeaseOptions, 'onHeld' | 'onLost'> {
  /** Who this is; for people, need not be unique. 1 to 200 characters. */
  readonly name: string;
  /** The record that all of them want. Default: `leader`. */
  readonly key?: string | undefined;
  /** Called when this one leads. */
  readonly onLead?: ((leadership: Leadership) => void) | undefined;
  /** Called when it leads no longer, and why. */
  readonly onLost?: ((reason: RdmaError) => void) | undefined;
}

/** What a leader has, for as long as it leads. */
export class Leadership {
  /** @internal */
  constructor(
    private readonly store: ControlStore,
    private readonly holder: string,
    private readonly holding: Holding,
  ) {}

  /** Its number; it grows while it leads only by {@link raise}. */
  get term(): number {
    return this.holding.term;
  }

  /** Aborted when it leads no longer. */
  get signal(): AbortSignal {
    return this.holding.signal;
  }

  /** Whether it leads now, by its own clock. Ask before each act. */
  isLeading(): boolean {
    return this.holding.isHeld();
  }

  /** @throws RdmaError RDMA_ERR_CONFLICT when it leads no longer */
  check(): void {
    this.holding.check();
  }

  /**
   * Makes the term higher than one that somebody has seen of another leader: a store that forgets may give one twice.
   *
   * @throws RdmaError RDMA_ERR_CONFLICT when it leads no longer
   */
  raise(above: number): Promise<void> {
    return this.holding.raise(above);
  }

  /**
   * Writes a record under the term; {@link readFenced} reads it.
   *
   * @param options `expected`: the revision that is overwritten, 0 for none; without it, whatever an older term has
   *   written
   * @returns the revision
   * @throws RdmaError RDMA_ERR_CONFLICT when the term is over, a newer one has written, or the revision is another;
   *   RDMA_ERR_TIMEOUT when it may or may not be written, or may be later; and those of ControlStore.put
   */
  put(key: string, value: Json, options: PutOptions = {}): Promise<Revision> {
    return putFenced(this.store, this.holding, this.holder, key, value, options);
  }
}

export type { Fenced };

/** One of those who would lead. */
export class Election {
  private readonly lease: Lease;
  private current: Leadership | undefined;
  private waiting: ((leadership: Leadership | RdmaError) => void)[] = [];
  private isClosed = false;

  /**
   * Campaigns at once, and again whenever it has lost.
   *
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT
   */
  constructor(store: ControlStore, options: ElectionOptions) {
    const {
      name,
      key = 'leader',
      onLead,
      onLost,
      data = null,
      ...given
    } = checkObject<ElectionOptions>('options', options);
    checkString('name', name, { minLength: 1, maxLength: 200 });
    if (onLead !== undefined) checkFunction('onLead', onLead);
    if (onLost !== undefined) checkFunction('onLost', onLost);
    this.lease = new Lease(store, key, {
      ...given,
      data: { name, data },
      onHeld: (holding) => {
        const leadership = new Leadership(store, this.lease.holder, holding);
        this.current = leadership;
        for (const resolve of this.waiting.splice(0)) resolve(leadership);
        onLead?.(leadership);
      },
      onLost: (reason) => {
        this.current = undefined;
        onLost?.(reason);
      },
    });
  }

  /** What this one may do as the leader; undefined unless it leads now. */
  get leadership(): Leadership | undefined {
    return this.current?.isLeading() ? this.current : undefined;
  }

  /** Who led when the record was last seen; it may have died since. undefined: nobody, as far as is known. */
  get leader(): Leader | undefined {
    const record = this.lease.seen;
    if (record === undefined || record.free) return undefined;
    const { name, data } = (record.data ?? {}) as { name?: string; data?: Json };
    return { name: String(name), term: record.term, data: data ?? null };
  }

  /** Why the store was last of no use; undefined while all goes well. */
  get lastError(): RdmaError | undefined {
    return this.lease.lastError;
  }

  /**
   * Waits until this one leads.
   *
   * @throws RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED, RDMA_ERR_CLOSED, RDMA_ERR_INVALID_ARGUMENT
   */
  whenLeading(limits: WaitLimits = {}): Promise<Leadership> {
    const now = this.leadership;
    if (now !== undefined) return Promise.resolve(now);
    if (this.isClosed) return Promise.reject(closed());
    const elected = new Promise<Leadership>((resolve, reject) => {
      this.waiting.push((answer) => (answer instanceof Leadership ? resolve(answer) : reject(answer)));
    });
    return withDeadline(elected, { ...limits, late: `it was not elected within ${limits.timeoutMs} ms` });
  }

  /** Leads no longer, if it does, and leaves the next lease to others. */
  resign(): Promise<void> {
    return this.lease.release();
  }

  /** Resigns for good. */
  async close(): Promise<void> {
    this.isClosed = true;
    for (const reject of this.waiting.splice(0)) reject(closed());
    await this.lease.close();
  }
}

const closed = () => new Failure('RDMA_ERR_CLOSED', 'the election is closed');
