// The requests of a gateway from their acceptance to their end: in the queue, in their places, and in the queue again.
//
// Invariant: an accepted request ends exactly once. Until then the keeper holds everything needed to admit it again. A
// request counts at its instances and as work under way from admission until it ends there or leaves them; when there
// is room, the one that goes next by the queue's order goes on.
import { RdmaError } from '../core/errors.js';
import { Admission, type AdmittedRequest, type Availability } from './admission.js';
import { Dispatcher } from './dispatcher.js';
import { Door, type Newcomer } from './door.js';
import type { GatewayOptions } from './gateway-options.js';
import type { Place } from './place.js';
import type { PlaceId, Plan } from './plan.js';
import type { RequestQueue } from './request-queue.js';
import { requestsOfGateway } from './stream-limits.js';
import type { TaskEvents } from './task-events.js';
import type { Ticket } from './ticket.js';
import { UnderWay } from './under-way.js';

export class RequestKeeper {
  readonly admission: Admission;
  readonly door: Door<Ticket>;
  readonly underWay: UnderWay;
  private readonly options: GatewayOptions;
  private readonly place: Place;
  private readonly events: TaskEvents;
  private readonly dispatcher: Dispatcher;
  private readonly queue: RequestQueue<Ticket>;
  private linked = false;
  private admitting = false;
  private reason: RdmaError | undefined;

  constructor(options: GatewayOptions, place: Place, events: TaskEvents) {
    this.options = options;
    this.place = place;
    this.events = events;
    const { graph, plan } = options;
    this.admission = new Admission(graph, plan, requestsOfGateway(graph.spec, place.sizes, plan.gateways.length));
    this.door = new Door(options, this.admission);
    this.queue = this.door.queue;
    this.underWay = new UnderWay(options.self.instance, options.incarnation);
    this.dispatcher = new Dispatcher(options, place, this.underWay, () => this.admitWaiting());
  }

  /** Why it takes no requests any more; undefined: it does. */
  get failure(): RdmaError | undefined {
    return this.reason;
  }

  /** No request is under way and none waits. */
  get isIdle(): boolean {
    return this.underWay.size === 0 && this.queue.size === 0;
  }

  /** Whether a newcomer would have to wait, whatever room its places have. */
  get isBusy(): boolean {
    return this.queue.size > 0 || this.isFull;
  }

  private get isFull(): boolean {
    return this.underWay.inFlight >= this.options.maxInFlight;
  }

  /** Requests are admitted from now on: the places can be reached. */
  begin(): void {
    this.linked = true;
    this.admit();
  }

  /** Requests are admitted under this plan from now on. */
  adopt(plan: Plan): void {
    this.admission.adopt(plan);
    this.admit();
  }

  // ---- Admission

  /**
   * Takes a request: sends it, or lets it wait. It may be over when this returns.
   *
   * @throws RdmaError RDMA_ERR_REJECTED when there is no room for it to wait
   */
  take(ticket: Ticket, newcomer: Newcomer, nowUs: number): void {
    // Behind others that wait, it would wait too.
    if (this.queue.size === 0 && this.tryDispatch(ticket)) return;
    if (ticket.over) return;
    this.door.checkRoom(newcomer, nowUs);
    ticket.chargeUs = this.door.forecaster.chargeUs(newcomer);
    this.queue.add(ticket);
    this.admit();
  }

  // For a newcomer when nobody waits. False: it has to wait.
  private tryDispatch(ticket: Ticket): boolean {
    if (this.admitting || !this.linked || this.isFull) return false;
    const admitted = this.admission.admit(this.place.nowUs(), ticket.spreads);
    return admitted !== undefined && this.dispatch(ticket, admitted);
  }

  /** Admits those that wait, as far as there is room. */
  admit(): void {
    if (this.admitting || !this.linked) return;
    this.admitting = true;
    try {
      const { queue } = this;
      for (let ticket = queue.first(); ticket !== undefined && this.reason === undefined; ticket = queue.first()) {
        // Of several that one signal aborts, the first makes room before the others have heard of it.
        if (ticket.over || ticket.signal?.aborted) queue.remove(ticket);
        else if (this.isFull) return;
        else if (this.endHopeless(ticket)) continue;
        else {
          const admitted = this.admission.admit(this.place.nowUs(), ticket.spreads);
          if (admitted === undefined) return;
          queue.shift();
          if (this.dispatch(ticket, admitted)) continue;
          queue.addAgain([ticket]);
          return;
        }
      }
    } finally {
      this.admitting = false;
    }
  }

  /** Likewise; nothing where none waits. */
  admitWaiting(): void {
    if (this.queue.size > 0) this.admit();
  }

  // False when there is no memory for it now: it waits, and is tried again when something has ended.
  private dispatch(ticket: Ticket, admitted: AdmittedRequest): boolean {
    this.underWay.begin(ticket);
    ticket.admitted = admitted;
    this.door.forecaster.sent(ticket);
    try {
      if (this.dispatcher.send(ticket, admitted, this.events.isWatched(ticket))) return true;
    } catch (error) {
      this.end(ticket);
      const isOurs = error instanceof RdmaError;
      ticket.reject(isOurs ? error : new RdmaError('RDMA_ERR_PEER_GONE', String(error), { cause: error }));
      return true;
    }
    this.leave(ticket, admitted);
    this.underWay.undo(ticket);
    return false;
  }

  // ---- In its places

  /**
   * A task of a request is done.
   *
   * @param place where
   * @param nowUs when that is known
   */
  done(
    ticket: Ticket,
    admitted: AdmittedRequest,
    place: PlaceId,
    queueUs: number,
    computeUs: number,
    nowUs: number,
  ): void {
    const load = this.admission.done(admitted, place, queueUs, computeUs, nowUs);
    if (load === undefined) return;
    const { forecaster } = this.door;
    forecaster.sample(place.stage, ticket, computeUs, load.isCold);
    load.isCold = false;
    if (admitted.unfinished[place.stage]!.length === 0) forecaster.doneAt(place.stage, ticket);
  }

  /** Those begin again, before all that wait: they leave their places. Call {@link RequestKeeper.admit} afterwards. */
  admitAgainWhere(isConcerned: (admitted: AdmittedRequest) => boolean): void {
    const again: Ticket[] = [];
    for (const ticket of this.underWay.list()) {
      const { admitted } = ticket;
      if (admitted !== undefined && !ticket.over && isConcerned(admitted)) again.push(this.withdraw(ticket, admitted));
    }
    this.waitAgain(again);
  }

  /** A request begins again, before all that wait; nothing when it is not in its places. */
  admitAgain(ticket: Ticket): void {
    const { admitted } = ticket;
    if (admitted !== undefined) this.waitAgain([this.withdraw(ticket, admitted)]);
    this.admit();
  }

  // What it has in the places ends there.
  private withdraw(ticket: Ticket, admitted: AdmittedRequest): Ticket {
    this.dispatcher.tellEnded(ticket);
    this.leave(ticket, admitted);
    ticket.progress = undefined;
    return ticket;
  }

  private waitAgain(tickets: readonly Ticket[]): void {
    this.queue.addAgain(tickets);
    this.underWay.waitAgain(tickets.length);
  }

  /**
   * A place is broken: of the requests whose task there is not done, those that another instance can take begin again,
   * and the others fail.
   *
   * @param reason with which they fail
   */
  abandon(place: PlaceId, reason: RdmaError): void {
    const isAt = ({ unfinished }: AdmittedRequest) =>
      unfinished[place.stage]!.some((load) => load.instance === place.instance);
    if (this.admission.broken === undefined) this.admitAgainWhere(isAt);
    else {
      for (const ticket of this.underWay.list()) {
        if (ticket.admitted !== undefined && isAt(ticket.admitted)) this.cancel(ticket, reason);
      }
    }
    this.admit();
  }

  /** Says whether an instance of the newest plan takes requests. */
  setAvailability(place: PlaceId, availability: Availability): void {
    this.admission.setAvailability(place, availability, this.place.nowUs());
    this.refuseWhereBroken();
    this.admitWaiting();
  }

  /** Sets the state of a stage that has no instance in the newest plan. */
  setSleep(stage: number, availability: Availability): void {
    this.admission.setSleep(stage, availability, this.place.nowUs());
    this.refuseWhereBroken();
  }

  private refuseWhereBroken(): void {
    const { broken } = this.admission;
    if (broken === undefined) return;
    for (const ticket of this.queue.list()) this.cancel(ticket, this.door.brokenError(broken));
  }

  // ---- The end

  /** Ends a request with a failure, and with it its tasks in all places; nothing when it is over. */
  cancel(ticket: Ticket, reason: RdmaError): void {
    if (ticket.over) return;
    ticket.reject(reason);
    if (ticket.admitted === undefined) this.queue.remove(ticket);
    this.dispatcher.tellEnded(ticket);
    this.end(ticket);
    this.admit();
  }

  /** A request has ended, and its caller has the outcome or is about to get it. */
  end(ticket: Ticket): void {
    this.underWay.end(ticket);
    if (ticket.admitted === undefined) return;
    this.leave(ticket, ticket.admitted);
    this.underWay.wake();
  }

  // It is in its places no more.
  private leave(ticket: Ticket, admitted: AdmittedRequest): void {
    this.door.forecaster.ended(admitted, ticket);
    this.admission.ended(admitted);
    ticket.admitted = undefined;
  }

  /** It takes longer than it was expected to, by what is known so far. */
  learnLate({ expectation }: Ticket, leastUs: number): void {
    if (expectation !== undefined) this.door.forecaster.settled(expectation, leastUs);
  }

  /** True when it has ended: it waits still, and even at once it would be late. */
  endHopeless(ticket: Ticket): boolean {
    if (ticket.over || ticket.number > 0 || ticket.deadlineUs === Number.POSITIVE_INFINITY) return ticket.over;
    const aloneUs = this.door.forecaster.aloneUs(ticket);
    if (!(this.place.nowUs() + aloneUs > ticket.deadlineUs) || this.underWay.size === 0) return false;
    this.door.hopeless++;
    this.learnLate(ticket, this.place.nowUs() + aloneUs - ticket.queuedAtUs);
    this.cancel(ticket, new RdmaError('RDMA_ERR_DEADLINE', 'it waited until it could not be done in time any more'));
    return true;
  }

  /** Ends every request, and every later one, with `reason`, or with the one of the first call. */
  close(reason: RdmaError): void {
    this.reason ??= reason;
    const tickets = [...this.underWay.list(), ...this.queue.list()];
    this.underWay.clear();
    this.queue.clear();
    for (const ticket of tickets) if (!ticket.over) ticket.reject(this.reason);
  }
}
