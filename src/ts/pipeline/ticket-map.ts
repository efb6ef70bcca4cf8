// A map from tickets to values, for as many requests as are under way.
//
// JavaScript's own Map keeps its former tables alive when it grows or shrinks, and with them what they held, until the
// next major collection; with some hundred thousand requests a second that is most of what is collected.
//
// Invariant: a ticket lies in the first free slot from its own on, without a gap between; so a search ends at the first
// gap. At most half of the slots are taken. The map keeps no reference to a deleted value.

const EMPTY = -1;
const SMALLEST = 16;
const NONE: readonly number[] = [];

export class TicketMap<Value> {
  private tickets: number[] = new Array<number>(SMALLEST).fill(EMPTY);
  private values: (Value | undefined)[] = new Array<Value | undefined>(SMALLEST).fill(undefined);
  private mask = SMALLEST - 1;
  private count = 0;

  /** How many tickets there are. */
  get size(): number {
    return this.count;
  }

  /** The value of a ticket; undefined: there is none. */
  get(ticket: number): Value | undefined {
    const at = this.find(ticket);
    return this.tickets[at] === ticket ? this.values[at] : undefined;
  }

  has(ticket: number): boolean {
    return this.tickets[this.find(ticket)] === ticket;
  }

  /** @param ticket a whole number from 0 on */
  set(ticket: number, value: Value): void {
    let at = this.find(ticket);
    if (this.tickets[at] !== ticket) {
      if (2 * ++this.count > this.mask) {
        this.grow();
        at = this.find(ticket);
      }
      this.tickets[at] = ticket;
    }
    this.values[at] = value;
  }

  /** True when it was there. */
  delete(ticket: number): boolean {
    const { tickets, values, mask } = this;
    let gap = this.find(ticket);
    if (tickets[gap] !== ticket) return false;
    this.count--;
    // Those behind it that would not be found across the gap move into it.
    for (let at = (gap + 1) & mask; tickets[at] !== EMPTY; at = (at + 1) & mask) {
      const own = this.placeOf(tickets[at]!);
      if (((at - own) & mask) < ((at - gap) & mask)) continue;
      tickets[gap] = tickets[at]!;
      values[gap] = values[at];
      gap = at;
    }
    tickets[gap] = EMPTY;
    values[gap] = undefined;
    return true;
  }

  clear(): void {
    this.tickets.fill(EMPTY);
    this.values.fill(undefined);
    this.count = 0;
  }

  /** The tickets below a limit, in order; a list of the moment. */
  below(limit: number): readonly number[] {
    if (this.count === 0) return NONE;
    let found: number[] | undefined;
    for (let at = 0; at <= this.mask; at++) {
      const ticket = this.tickets[at]!;
      if (ticket === EMPTY || ticket >= limit) continue;
      found ??= [];
      found.push(ticket);
    }
    return found === undefined ? NONE : found.sort((a, b) => a - b);
  }

  /**
   * All values of the moment, in the order of their tickets: what is set or deleted meanwhile does not change the list.
   */
  list(): Value[] {
    return this.below(Number.POSITIVE_INFINITY).map((ticket) => this.get(ticket)!);
  }

  private placeOf(ticket: number): number {
    return ticket & this.mask;
  }

  // Where the ticket lies, or the gap in which it would.
  private find(ticket: number): number {
    const { tickets, mask } = this;
    let at = this.placeOf(ticket);
    while (tickets[at] !== ticket && tickets[at] !== EMPTY) at = (at + 1) & mask;
    return at;
  }

  private grow(): void {
    const { tickets, values } = this;
    const size = 2 * tickets.length;
    this.mask = size - 1;
    this.tickets = new Array<number>(size).fill(EMPTY);
    this.values = new Array<Value | undefined>(size).fill(undefined);
    for (let i = 0; i < tickets.length; i++) {
      if (tickets[i] === EMPTY) continue;
      const at = this.find(tickets[i]!);
      this.tickets[at] = tickets[i]!;
      this.values[at] = values[i];
    }
  }
}
