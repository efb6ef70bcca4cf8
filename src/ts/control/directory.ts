// The addresses of places: one for each name, by term.
//
// Invariant: for one name, an address of a lower term never follows one of a higher term, neither in the store nor for
// a watcher here, as long as the store forgets nothing.
import { type WaitLimits, withDeadline } from '../core/deadline.js';
import { tellerOf } from '../core/event-teller.js';
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkObject, checkString } from '../core/validate.js';
import { type ControlPort, systemControlPort } from './port.js';
import { checkKey, checkPrefix, type ControlStore, type Entry, type Json, readJson } from './store.js';
import { View } from './view.js';

export interface Address {
  readonly place: string;
  /** Under which it was announced. */
  readonly term: number;
  /** Where it is; null: it was withdrawn. */
  readonly address: Json;
}

export interface DirectoryOptions {
  /** Keys begin with this; with a dot at its end. Default: `places.`. */
  readonly prefix?: string | undefined;
  /** Called when an address is new, changed or withdrawn. */
  readonly onChange?: ((address: Address) => void) | undefined;
  readonly port?: ControlPort | undefined;
}

const MAX_TRIES = 20;
/** A watch of a directory has nothing to time but its gaps, which do not matter here. */
const LEASE_MS = 3000;

export class Directory {
  private readonly view: View;
  private readonly prefix: string;
  private readonly port: ControlPort;
  private readonly emit: (address: Address) => void;
  private readonly known = new Map<string, Address>();
  private readonly waiting = new Set<() => void>();
  private isClosed = false;

  /** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT */
  constructor(
    private readonly store: ControlStore,
    options: DirectoryOptions = {},
  ) {
    const {
      prefix = 'places.',
      onChange = () => {},
      port = systemControlPort,
    } = checkObject<DirectoryOptions>('options', options);
    this.prefix = checkString('prefix', checkPrefix(prefix), { pattern: /\.$/ });
    this.port = port;
    this.emit = tellerOf('onChange', checkFunction('onChange', onChange));
    this.view = new View(store, { prefix, leaseMs: LEASE_MS, port, onChange: (key, entry) => this.see(key, entry) });
  }

  /** The newest address that is known here; undefined: there is none, or it was withdrawn. */
  get(place: string): Address | undefined {
    const known = this.known.get(place);
    return known === undefined || known.address === null ? undefined : known;
  }

  /** All addresses that are known here. */
  list(): Address[] {
    return [...this.known.values()].filter(({ address }) => address !== null);
  }

  /** Why the store was last of no use; undefined while all goes well. */
  get lastError(): RdmaError | undefined {
    return this.view.failure;
  }

  /**
   * Waits for an address of a term, or a newer one.
   *
   * @throws RdmaError RDMA_ERR_TIMEOUT, RDMA_ERR_ABORTED, RDMA_ERR_CLOSED, RDMA_ERR_INVALID_ARGUMENT
   */
  async find(place: string, fromTerm = 0, limits: WaitLimits = {}): Promise<Address> {
    this.keyOf(place);
    let review = () => {};
    const found = new Promise<Address>((resolve, reject) => {
      review = () => {
        const address = this.get(place);
        if (address !== undefined && address.term >= fromTerm) resolve(address);
        else if (this.isClosed) reject(new RdmaError('RDMA_ERR_CLOSED', 'the directory is closed'));
      };
    });
    this.waiting.add(review);
    review();
    try {
      const late = () => {
        const { failure: cause } = this.view;
        const text = `no address of ${place} from term ${fromTerm} within ${limits.timeoutMs} ms`;
        return new RdmaError('RDMA_ERR_TIMEOUT', text, cause === undefined ? {} : { cause });
      };
      return await withDeadline(found, { ...limits, late, timers: this.port.timers });
    } finally {
      this.waiting.delete(review);
    }
  }

  /**
   * Says where a place is.
   *
   * @param place letters, digits, and `-_=/.`
   * @param address what JSON can say, but not null
   * @param term under which it runs, 0 or more
   * @throws RdmaError RDMA_ERR_CONFLICT when the place was announced under a higher term; those of ControlStore.put
   */
  announce(place: string, address: Json, term: number): Promise<void> {
    if (address === null || address === undefined)
      return Promise.reject(new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'address must not be null'));
    return this.write(place, address, term);
  }

  /** Says that it is there no longer, unless it was announced under a higher term. @throws as announce() */
  withdraw(place: string, term: number): Promise<void> {
    return this.write(place, null, term);
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const review of this.waiting) review();
    await this.view.close();
  }

  private keyOf(place: string): string {
    return checkKey(this.prefix + checkString('place', place, { minLength: 1 }));
  }

  private async write(place: string, address: Json, term: number): Promise<void> {
    const key = this.keyOf(place);
    checkInteger('term', term, 0);
    for (let tries = 1; ; tries++) {
      const entry = await this.store.get(key);
      const found = entry === undefined ? undefined : read(place, entry);
      if (found !== undefined && found.term > term) {
        throw new RdmaError('RDMA_ERR_CONFLICT', `${place} was announced under term ${found.term}, not ${term}`);
      }
      try {
        await this.store.put(key, { term, address }, { expected: entry?.revision ?? 0 });
        return;
      } catch (error) {
        if ((error as RdmaError).code !== 'RDMA_ERR_CONFLICT' || tries === MAX_TRIES) throw error;
      }
    }
  }

  private see(key: string | undefined, entry: Entry | undefined): void {
    if (key !== undefined) {
      const place = key.slice(this.prefix.length);
      const before = this.known.get(place);
      const now = entry === undefined ? undefined : read(place, entry);
      // One that is gone, or older, comes from a store that has forgotten: the place itself announces again.
      if (now === undefined || now.term < (before?.term ?? 0)) return;
      this.known.set(place, now);
      this.emit(now);
    }
    for (const review of this.waiting) review();
  }
}

function read(place: string, entry: Entry): Address | undefined {
  try {
    const { term, address = null } = (readJson(entry) ?? {}) as Partial<Address>;
    return Number.isSafeInteger(term) ? { place, term: term!, address } : undefined;
  } catch {
    return undefined;
  }
}
