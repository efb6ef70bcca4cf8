// The requests of a gateway that were admitted and have not ended, by number.
//
// Invariant: numbers count up without a gap, in the order of the first attempts, and no number that a place has seen is
// given twice. A request keeps its number until it ends. Each attempt has a larger number than the one before it.
import type { Ticket } from './ticket.js';
import { TicketMap } from './ticket-map.js';
import type { RequestAttempt } from './task-board.js';

export class UnderWay {
  private readonly gateway: number;
  private readonly gatewayRun: number;
  private readonly tickets = new TicketMap<Ticket>(); // admitted at least once
  private again = 0; // of `tickets`, those that wait to be admitted once more
  private lastNumber = 0;
  private firstOpen = 1; // no smaller ticket is open
  private waiting: (() => void)[] = []; // for fewer to be in their places

  /** @param gatewayRun which process in the place of the gateway this one is */
  constructor(gateway: number, gatewayRun: number) {
    this.gateway = gateway;
    this.gatewayRun = gatewayRun;
  }

  /** How many there are, also those that wait to be admitted once more. */
  get size(): number {
    return this.tickets.size;
  }

  /** How many of them are in their places. */
  get inFlight(): number {
    return this.tickets.size - this.again;
  }

  /** Number of the oldest request that has not ended, or of the next one. */
  get oldest(): number {
    const { tickets, lastNumber } = this;
    while (this.firstOpen <= lastNumber && !tickets.has(this.firstOpen)) this.firstOpen++;
    return this.firstOpen;
  }

  /** All of the moment, in the order of their numbers. */
  list(): Ticket[] {
    return this.tickets.list();
  }

  /** How many are in their places under the plan of this number. */
  countUnder(plan: number): number {
    let count = 0;
    for (const ticket of this.tickets.list()) if (ticket.admitted?.plan.number === plan) count++;
    return count;
  }

  // ---- Whom others name

  /** The request of this run whose newest attempt that is; undefined: there is none, or it is over. */
  find(gatewayRun: number, number: number, attempt: number): Ticket | undefined {
    if (gatewayRun !== this.gatewayRun) return undefined;
    const ticket = this.tickets.get(number);
    return ticket !== undefined && !ticket.over && ticket.attempt === attempt ? ticket : undefined;
  }

  /** The request that is in its places with this attempt; undefined: there is none. */
  findAttempt({ gateway, gatewayRun, ticket: number, attempt }: RequestAttempt): Ticket | undefined {
    if (gateway !== this.gateway) return undefined;
    const ticket = this.find(gatewayRun, number, attempt);
    return ticket?.admitted === undefined ? undefined : ticket;
  }

  /** True when nothing more is sent to places for this attempt of a request. */
  hasEnded(gatewayRun: number, number: number, attempt: number): boolean {
    const ticket = gatewayRun === this.gatewayRun ? this.tickets.get(number) : undefined;
    return ticket === undefined || ticket.attempt > attempt || ticket.admitted === undefined;
  }

  // ---- From the first attempt to the end

  /** The next attempt of a request begins, its first or one after it has waited again. */
  begin(ticket: Ticket): void {
    if (ticket.number > 0) this.again--;
    else ticket.number = ++this.lastNumber;
    ticket.attempt++;
    this.tickets.set(ticket.number, ticket);
  }

  /** Takes begin() back: nothing was sent, and no other request has begun since. */
  undo(ticket: Ticket): void {
    ticket.attempt--;
    // A number that places have seen stays in its order: without it they would take the request for one that has ended.
    if (ticket.attempt > 0) {
      this.again++;
      return;
    }
    this.tickets.delete(ticket.number);
    ticket.number = 0;
    this.lastNumber--;
  }

  /** So many requests have left their places and wait to be admitted once more. */
  waitAgain(count: number): void {
    this.again += count;
    this.wake();
  }

  /** A request ends that is in its places, waits to be admitted once more, or was never sent; it keeps its number. */
  end(ticket: Ticket): void {
    if (ticket.number > 0 && this.tickets.delete(ticket.number) && ticket.admitted === undefined) this.again--;
  }

  /** Forgets all of them. */
  clear(): void {
    this.tickets.clear();
    this.again = 0;
    this.wake();
  }

  // ---- Waiting

  /** Resolves when some have left their places. */
  fewer(): Promise<void> {
    return new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Ends the waits of {@link UnderWay.fewer}. */
  wake(): void {
    if (this.waiting.length === 0) return;
    for (const wake of this.waiting.splice(0)) wake();
  }
}
