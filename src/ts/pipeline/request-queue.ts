// The queue of a gateway: it decides which request is next.
//
// Order: requests that were admitted before and have to begin again; then strictly by priority; within a priority
// tenants take turns by their weights; within a tenant the earliest deadline first, and then the order of arrival.
//
// Invariant: an entry is in the queue once at most. Over any time in which two tenants of a priority both wait, what
// each is charged, divided by its weight, differs by no more than the largest charge of either (start-time fair
// queueing, Goyal, Vin and Cheng, 1996).

/** What the queue has to know of a request. */
export interface Queued {
  readonly tenant: string;
  readonly priority: number;
  /** On the gateway's clock; Infinity: none. */
  readonly deadlineUs: number;
  readonly costClass: number;
  readonly units: number;
  /** Bytes of its tensors. */
  readonly bytes: number;
  readonly queuedAtUs: number;
  /**
   * What its tenant is charged for it: expected microseconds of work, or 1 where nothing is known. Set before it is
   * added, and not changed while it waits.
   */
  chargeUs: number;
  /** Set by the queue. */
  order: number;
}

/** What waits ahead of a request, by class: units. */
export type UnitsByClass = Float64Array;

/** A tenant that waits, in one priority. */
class TenantLine<T extends Queued> {
  readonly name: string;
  readonly weight: number;
  readonly entries: T[] = []; // by deadline and order
  readonly units: UnitsByClass;
  charge = 0;
  bytes = 0;
  startTag: number; // of its first entry, in the virtual time of its priority

  constructor(name: string, weight: number, classes: number, startTag: number) {
    this.name = name;
    this.weight = weight;
    this.units = new Float64Array(classes);
    this.startTag = startTag;
  }

  add(entry: T, sign: 1 | -1): void {
    this.charge += sign * entry.chargeUs;
    this.bytes += sign * entry.bytes;
    const { units } = this;
    units[entry.costClass] = units[entry.costClass]! + sign * entry.units;
  }

  /** Where an entry of this deadline and order lies or would lie. */
  placeOf(deadlineUs: number, order: number): number {
    const { entries } = this;
    let [low, high] = [0, entries.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { deadlineUs: other, order: otherOrder } = entries[middle]!;
      if (other < deadlineUs || (other === deadlineUs && otherOrder < order)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

interface Band<T extends Queued> {
  readonly priority: number;
  readonly lines: Map<string, TenantLine<T>>;
  virtualTime: number;
}

/** Answered by {@link RequestQueue.status}. */
export interface TenantStatus {
  readonly tenant: string;
  readonly priority: number;
  readonly requests: number;
  readonly bytes: number;
}

export class RequestQueue<T extends Queued> {
  private readonly bands: Band<T>[] = []; // by priority, the highest first; none is empty
  private readonly weightOf: (tenant: string) => number;
  private readonly classes: number;
  private again: T[] = [];
  private lastOrder = 0;
  private count = 0;
  private byteCount = 0;
  // By tenant over all priorities, of those that wait.
  private readonly totals = new Map<string, { requests: number; bytes: number }>();

  /**
   * @param weightOf the share of a tenant, a positive number
   * @param classes how many cost classes there are at most
   */
  constructor(weightOf: (tenant: string) => number, classes: number) {
    this.weightOf = weightOf;
    this.classes = classes;
  }

  /** How many wait. */
  get size(): number {
    return this.count + this.again.length;
  }

  /** Bytes of their tensors. */
  get bytes(): number {
    return this.byteCount;
  }

  /** How many tenants wait. */
  get tenantCount(): number {
    return this.totals.size;
  }

  /** What waits of a tenant, in all priorities. */
  of(tenant: string): { readonly requests: number; readonly bytes: number } {
    return this.totals.get(tenant) ?? NOTHING;
  }

  /** Puts a request where it belongs. */
  add(entry: T): void {
    entry.order = ++this.lastOrder;
    const band = this.bandOf(entry.priority);
    let line = band.lines.get(entry.tenant);
    if (line === undefined) {
      line = new TenantLine<T>(entry.tenant, this.weightOf(entry.tenant), this.classes, band.virtualTime);
      band.lines.set(entry.tenant, line);
    }
    const { entries } = line;
    const last = entries.at(-1);
    if (last === undefined || last.deadlineUs <= entry.deadlineUs) entries.push(entry);
    else entries.splice(line.placeOf(entry.deadlineUs, entry.order), 0, entry);
    line.add(entry, 1);
    this.tally(entry, 1);
  }

  /** Puts requests before all others, the first of them first. */
  addAgain(entries: readonly T[]): void {
    if (entries.length > 0) this.again = [...entries, ...this.again];
  }

  /** The request that goes next; it stays where it is. */
  first(): T | undefined {
    if (this.again.length > 0) return this.again[0];
    const band = this.bands[0];
    return band === undefined ? undefined : nextLine(band).entries[0];
  }

  /** Takes out what first() answers. */
  shift(): T | undefined {
    if (this.again.length > 0) return this.again.shift();
    const band = this.bands[0];
    if (band === undefined) return undefined;
    const line = nextLine(band);
    const entry = line.entries.shift()!;
    band.virtualTime = Math.max(band.virtualTime, line.startTag);
    line.startTag += entry.chargeUs / line.weight;
    this.taken(band, line, entry);
    return entry;
  }

  /** Takes a request out, wherever it is. @returns false when it does not wait */
  remove(entry: T): boolean {
    const again = this.again.indexOf(entry);
    if (again >= 0) {
      this.again.splice(again, 1);
      return true;
    }
    const band = this.bands.find(({ priority }) => priority === entry.priority);
    const line = band?.lines.get(entry.tenant);
    if (band === undefined || line === undefined) return false;
    const at = line.placeOf(entry.deadlineUs, entry.order);
    if (line.entries[at] !== entry) return false;
    line.entries.splice(at, 1);
    this.taken(band, line, entry);
    return true;
  }

  private taken(band: Band<T>, line: TenantLine<T>, entry: T): void {
    line.add(entry, -1);
    this.tally(entry, -1);
    if (line.entries.length > 0) return;
    band.lines.delete(line.name);
    if (band.lines.size === 0) this.bands.splice(this.bands.indexOf(band), 1);
  }

  private tally(entry: T, sign: 1 | -1): void {
    this.count += sign;
    this.byteCount += sign * entry.bytes;
    const { tenant } = entry;
    const total = this.totals.get(tenant);
    if (total === undefined) this.totals.set(tenant, { requests: 1, bytes: entry.bytes });
    else {
      total.requests += sign;
      total.bytes += sign * entry.bytes;
      if (total.requests === 0) this.totals.delete(tenant);
    }
  }

  private bandOf(priority: number): Band<T> {
    const { bands } = this;
    let at = 0;
    while (at < bands.length && bands[at]!.priority > priority) at++;
    const found = bands[at];
    if (found?.priority === priority) return found;
    const band: Band<T> = { priority, lines: new Map(), virtualTime: 0 };
    bands.splice(at, 0, band);
    return band;
  }

  /**
   * What would go before a newcomer now.
   *
   * @param ahead is filled with the units of each class
   */
  ahead(
    { priority, tenant, deadlineUs }: Pick<Queued, 'priority' | 'tenant' | 'deadlineUs'>,
    ahead: UnitsByClass,
  ): void {
    ahead.fill(0);
    for (const { costClass, units } of this.again) ahead[costClass] = ahead[costClass]! + units;
    for (const band of this.bands) {
      if (band.priority < priority) return;
      if (band.priority > priority) for (const line of band.lines.values()) addShare(ahead, line.units, 1);
      else this.aheadInBand(band, tenant, deadlineUs, ahead);
    }
  }

  private aheadInBand(band: Band<T>, tenant: string, deadlineUs: number, ahead: UnitsByClass): void {
    const own = band.lines.get(tenant);
    let tag = own?.startTag ?? band.virtualTime;
    if (own !== undefined) {
      addShare(ahead, own.units, 1);
      let { charge } = own;
      // Those behind it, from the end: mostly there are none.
      for (let i = own.entries.length - 1; i >= 0 && own.entries[i]!.deadlineUs > deadlineUs; i--) {
        const { costClass, units, chargeUs } = own.entries[i]!;
        ahead[costClass] = ahead[costClass]! - units;
        charge -= chargeUs;
      }
      tag += charge / own.weight;
    }
    for (const line of band.lines.values()) {
      if (line === own || line.startTag > tag) continue;
      // The one under whose tag the newcomer's falls goes first as well.
      const charge = (tag - line.startTag) * line.weight + line.charge / line.entries.length;
      addShare(ahead, line.units, Math.min(1, charge / line.charge));
    }
  }

  /** All that wait; a list of the moment. */
  list(): T[] {
    return [...this.again, ...this.bands.flatMap(({ lines }) => [...lines.values()].flatMap(({ entries }) => entries))];
  }

  /** Takes all out. */
  clear(): void {
    this.again = [];
    this.bands.length = 0;
    this.totals.clear();
    this.count = 0;
    this.byteCount = 0;
  }

  /** Who waits, for operators. */
  status(): TenantStatus[] {
    return this.bands.flatMap(({ priority, lines }) =>
      [...lines.values()].map(({ name: tenant, entries, bytes }) => {
        return { tenant, priority, requests: entries.length, bytes };
      }),
    );
  }
}

const NOTHING = Object.freeze({ requests: 0, bytes: 0 });

function nextLine<T extends Queued>({ lines }: Band<T>): TenantLine<T> {
  let next: TenantLine<T> | undefined;
  for (const line of lines.values()) if (next === undefined || line.startTag < next.startTag) next = line;
  return next!;
}

function addShare(sum: UnitsByClass, units: UnitsByClass, share: number): void {
  for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + share * units[i]!;
}
