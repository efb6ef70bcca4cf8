// The members of a cluster: nodes that advertise what they have, and renew it.
//
// Invariant: a member is lost when it did not renew for a whole lease during which the store was reachable: a store
// that is away loses nobody. A member that comes back after it was lost has a higher incarnation. A name belongs to one
// node at a time.
import { isDeepStrictEqual } from 'node:util';
import { withDeadline } from '../core/deadline.js';
import { tellerOf } from '../core/event-teller.js';
import { isRdmaError, RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkObject, checkString } from '../core/validate.js';
import { Lease } from './lease.js';
import { MAX_LEASE_MS, MIN_LEASE_MS, readLeaseRecord } from './lease-record.js';
import { type ControlPort, systemControlPort } from './port.js';
import { checkKey, checkPrefix, type ControlStore, type Entry, type Json } from './store.js';
import { View } from './view.js';

export interface Member {
  readonly name: string;
  /** Grows each time the name is taken again: by another process, or after it was lost. */
  readonly incarnation: number;
  /** What it advertises. */
  readonly data: Json;
}

/** What has happened to the members. */
export type MemberEvent =
  | { readonly type: 'joined' | 'changed'; readonly member: Member }
  /** `left`: it said so. `lost`: it does not renew any more. */
  | { readonly type: 'left' | 'lost'; readonly member: Member };

export interface MembersOptions {
  /** Keys begin with this; with a dot at its end. Default: `members.`. */
  readonly prefix?: string | undefined;
  /** Of this one's own record; others may have another. 50 to 600 000 ms; default 3000. */
  readonly leaseMs?: number | undefined;
  readonly onEvent?: ((event: MemberEvent) => void) | undefined;
  readonly port?: ControlPort | undefined;
}

/** One that has joined, as it sees itself. */
export interface Membership {
  readonly name: string;
  /**
   * undefined while the others may take it for lost: it could not renew in time. It comes back by itself, in a new
   * incarnation.
   */
  readonly incarnation: number | undefined;
  /** Changes what is advertised. */
  update(data: Json): void;
  /** Leaves: the others learn it at once. */
  leave(): Promise<void>;
}

interface Known {
  /** undefined: it has left, or is lost. */
  member: Member | undefined;
  readonly leaseMs: number;
  readonly revision: number;
}

/** Dead records are removed after so many leases. */
const FORGET_LEASES = 20;
/** Whoever hears nothing for this share of the lease asks; more than half would be a gap. */
const PROBE_SHARE = 0.36;

export class Members {
  private readonly view: View;
  private readonly prefix: string;
  private readonly leaseMs: number;
  private readonly port: ControlPort;
  private readonly emit: (event: MemberEvent) => void;
  /** By key. */
  private readonly known = new Map<string, Known>();
  private readonly own = new Map<string, Lease>();
  private firstSync: (() => void)[] = [];
  private cancelTimer: (() => void) | undefined;
  private isClosed = false;

  /** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
  constructor(
    private readonly store: ControlStore,
    options: MembersOptions = {},
  ) {
    const given = checkObject<MembersOptions>('options', options);
    const { prefix = 'members.', leaseMs = 3000, onEvent = () => {}, port = systemControlPort } = given;
    this.prefix = checkString('prefix', checkPrefix(prefix), { pattern: /\.$/ });
    this.leaseMs = checkInteger('leaseMs', leaseMs, MIN_LEASE_MS, MAX_LEASE_MS);
    this.port = port;
    this.emit = tellerOf('onEvent', checkFunction('onEvent', onEvent));
    this.view = new View(store, { prefix, leaseMs, port, onChange: (key, entry) => this.onChange(key, entry) });
  }

  /** Those who are there, as far as is known, by name. */
  list(): Member[] {
    const members = [...this.known.values()].flatMap(({ member }) => member ?? []);
    return members.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  get(name: string): Member | undefined {
    return this.known.get(this.prefix + name)?.member;
  }

  /** Whether a member with this name was lost: it did not say that it left, and may come back. Forgotten in time. */
  isLost(name: string): boolean {
    const key = this.prefix + name;
    const known = this.known.get(key);
    return known !== undefined && known.member === undefined && readLeaseRecord(this.view.get(key))?.free === false;
  }

  /** Why the store was last of no use; undefined while all goes well. */
  get lastError(): RdmaError | undefined {
    const own = [...this.own.values()].find(({ lastError }) => lastError !== undefined);
    return this.view.failure ?? own?.lastError;
  }

  /** Waits until all who are there are known. @throws RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_CLOSED */
  whenSynced(timeoutMs = 30_000): Promise<void> {
    if (this.view.syncs > 0) return Promise.resolve();
    const synced = new Promise<void>((resolve) => this.firstSync.push(resolve));
    const late = () =>
      new RdmaError('RDMA_ERR_TIMEOUT', `the store has told nothing within ${timeoutMs} ms`, this.why());
    return withDeadline(synced, { timeoutMs, timers: this.port.timers, late });
  }

  /**
   * Advertises a node, and renews it from now on.
   *
   * @param name letters, digits, `-_=/`, and dots between them
   * @param data what the record says of this member
   * @param timeoutMs how long to wait for a store that is away, or for a namesake that has died; default: three leases
   * @throws RdmaError RDMA_ERR_CONFLICT when another node has that name; RDMA_ERR_TIMEOUT; RDMA_ERR_INVALID_ARGUMENT
   */
  async join(name: string, data: Json, timeoutMs = 3 * this.leaseMs): Promise<Membership> {
    const key = checkKey(this.prefix + checkString('name', name, { minLength: 1 }));
    if (this.isClosed) throw new RdmaError('RDMA_ERR_CLOSED', 'the members are closed');
    if (this.own.has(key)) throw taken(name);
    const { leaseMs, port, store, view } = this;
    let onHeld = () => {};
    const held = new Promise<void>((resolve) => {
      onHeld = resolve;
    });
    // Names need no caution: should a store that forgets give one twice, one of the two finds out at its next renewal.
    const options = { leaseMs, port, data, storeForgets: false, onHeld: () => onHeld() };
    const lease = new Lease(store, key, options, view);
    this.own.set(key, lease);
    const leave = async () => {
      this.own.delete(key);
      await lease.close();
    };
    const late = () => {
      const { seen, lastError } = lease;
      if (lastError?.code !== 'RDMA_ERR_CONFLICT' && (seen === undefined || seen.free || lastError !== undefined))
        return new RdmaError('RDMA_ERR_TIMEOUT', `${name} could not join within ${timeoutMs} ms`, this.why(lastError));
      return taken(name);
    };
    try {
      await withDeadline(held, { timeoutMs, timers: port.timers, late });
    } catch (error) {
      await leave();
      throw error;
    }
    return {
      name,
      get incarnation() {
        return lease.holding?.term;
      },
      update: (data) => lease.setData(data),
      leave,
    };
  }

  /** Leaves with all that have joined here, and looks no longer. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.cancelTimer?.();
    await Promise.all([...this.own.values()].map((lease) => lease.close()));
    this.own.clear();
    await this.view.close();
  }

  private why(cause: RdmaError | undefined = this.view.failure): { cause?: RdmaError } {
    return cause === undefined ? {} : { cause };
  }

  private onChange(key: string | undefined, entry: Entry | undefined): void {
    if (key === undefined) {
      for (const resolve of this.firstSync.splice(0)) resolve();
      for (const lease of this.own.values()) lease.review();
    } else {
      this.own.get(key)?.review();
      this.update(key, entry);
    }
    this.schedule();
  }

  private update(key: string, entry: Entry | undefined): void {
    const known = this.known.get(key);
    const before = known?.member;
    const record = readLeaseRecord(entry);
    if (record === undefined) {
      // Nobody leaves that way: the store has lost it. Its node writes it again, or is lost in time.
      if (before === undefined) this.known.delete(key);
      return;
    }
    const { term: incarnation, data, leaseMs, free } = record;
    const isSame = before?.incarnation === incarnation && isDeepStrictEqual(before.data, data);
    const now = isSame ? before : { name: key.slice(this.prefix.length), incarnation, data };
    const member = free ? undefined : now;
    this.known.set(key, { member, leaseMs, revision: entry!.revision });
    if (free && before !== undefined) this.emit({ type: 'left', member: before });
    if (member === undefined || isSame) return;
    const isNew = before?.incarnation !== incarnation;
    if (isNew && before !== undefined) this.emit({ type: 'lost', member: before });
    this.emit({ type: isNew ? 'joined' : 'changed', member });
  }

  // One timer for all: until the next who may be lost, or the store was silent for too long. Renewals do not move it.
  private schedule(): void {
    if (this.cancelTimer !== undefined || this.isClosed) return;
    const { view, port, leaseMs } = this;
    const silentMs = view.silentMs();
    let waitMs = Math.min(leaseMs, PROBE_SHARE * leaseMs - silentMs);
    for (const [key, known] of this.known) waitMs = Math.min(waitMs, this.leftMs(key, known) - silentMs);
    this.cancelTimer = port.timers.after(Math.ceil(Math.max(leaseMs / 60, waitMs)), () => {
      this.check().then(() => {
        this.cancelTimer = undefined;
        this.schedule();
      });
    });
  }

  private leftMs(key: string, { member, leaseMs }: Known): number {
    return leaseMs * (member === undefined ? FORGET_LEASES : 1) - this.view.unchangedMs(key);
  }

  // Those whose time is over are lost, once the store has said after it that they did not renew.
  private async check(): Promise<void> {
    const { view } = this;
    for (const [key, known] of [...this.known]) {
      if (this.leftMs(key, known) > view.silentMs() || !(await view.probe(key))) continue;
      const now = this.known.get(key);
      if (now !== undefined && this.leftMs(key, now) <= 0) this.end(key, now);
    }
    if (view.silentMs() >= PROBE_SHARE * this.leaseMs) await view.probe(`${this.prefix}-`);
  }

  private end(key: string, known: Known): void {
    const { member, revision } = known;
    if (member === undefined) this.forget({ key, revision });
    else {
      known.member = undefined;
      this.emit({ type: 'lost', member });
    }
  }

  private forget({ key, revision }: { key: string; revision: number }): void {
    this.known.delete(key);
    if (this.own.size === 0 || this.own.has(key) || this.view.get(key) === undefined) return;
    this.store.delete(key, revision).catch((error) => {
      // Another one has removed it, or the next will.
      if (!isRdmaError(error)) throw error;
    });
  }
}

function taken(name: string): RdmaError {
  const remedy = 'give each node a name of its own, or end the other one';
  return new RdmaError('RDMA_ERR_CONFLICT', `another node with the name ${name} is alive`, { remedy });
}
