// The gateway: where requests enter a pipeline and results leave it. It has the only queue.
//
// Invariant: an accepted request ends exactly once: with its result, a failure, or an error that says why. Until then
// the gateway holds everything needed to admit it again. A request lives and dies under the plan that admitted it; if
// it is admitted again that is a new attempt, and nothing of an older attempt becomes part of its result.
import { onAbort } from '../core/abort.js';
import { pause } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import { hideSecret } from '../core/secret.js';
import { checkObject } from '../core/validate.js';
import type { Block } from '../ring/index.js';
import { Admission, type AdmittedRequest, type Availability } from './admission.js';
import { Door, type Newcomer } from './door.js';
import { type Envelope, Flag, Kind, NO_DEADLINE, NO_STREAM } from './envelope.js';
import type { Expectation } from './forecaster.js';
import type { GatewayOptions, GatewayStatus, TaskEvent } from './gateway-options.js';
import type { Input } from './input.js';
import type { JoinedInputs } from './join.js';
import type { PlaceSizes } from './lane-sizes.js';
import { encodeMeta } from './meta.js';
import {
  encodeEnded,
  readFailure,
  readNoteHead,
  readReports,
  Report,
  type ReportRecord,
  type StageFailure,
} from './notes.js';
import { behindUs, RequestProgress } from './progress.js';
import { Previews, type ProgressNote } from './progress-note.js';
import { spreadsOf } from './spread.js';
import { Place } from './place.js';
import { LINGER_US } from './reception.js';
import type { PlaceAddress } from './place-address.js';
import { GATEWAY_INDEX, type PlaceId, type Plan, placeName } from './plan.js';
import {
  abortedError,
  type CheckedOptions,
  checkRequestOptions,
  type PipelineOutput,
  type PipelineRequest,
  type PipelineResult,
  type RequestOptions,
} from './request.js';
import { placesOf, takesPart } from './routing.js';
import { copyParts, PieceTeller, piecesOf } from './stream-caller.js';
import { outputRoom, residentRequests } from './stream-limits.js';
import { RequestStream, type StreamOptions } from './stream-request.js';
import { requestName } from './request-name.js';
import type { RequestAttempt } from './task-board.js';
import { Ticket } from './ticket.js';
import { TicketMap } from './ticket-map.js';
import { remainingMs } from './time-left.js';
import { addHops, readTrace, type Trace, TraceRecords } from './trace.js';

/** At most one request in so many ms is traced without being asked for. */
const TRACE_EVERY_MS = 10;
/** After so many ms without a request the places of a pipeline sleep. */
const REST_MS = 5;
/** How fast a request is copied into the memory that it is sent from. */
const COPIED_BYTES_PER_US = 2 ** 13;
const NO_BYTES = new Uint8Array(0);
const NO_BLOCKS: readonly Block[] = [];

/** Whether a request that takes less than that may still be done is not watched while it waits. */
const MIN_WATCHED_MS = 1;
/** How much longer than told a caller waits before it tries again, at most. */
const RETRY_JITTER = 0.1;

/** Where requests enter a pipeline. Made by {@link Gateway.open}. */
export class Gateway {
  private readonly options: GatewayOptions;
  private admission!: Admission;
  private door!: Door<Ticket>;
  private readonly firstRuns: Uint32Array;
  private readonly tickets = new TicketMap<Ticket>(); // admitted at least once
  private place!: Place;
  private again = 0; // of `tickets`, those that wait to be admitted once more
  private lastNumber = 0;
  private firstOpen = 1; // no smaller ticket is open
  private lastTraceMs = Number.NEGATIVE_INFINITY;
  private lastAnnouncedMs = Number.NEGATIVE_INFINITY; // when no other request was under way
  private admitting = false;
  private linked = false;
  private failure: RdmaError | undefined;
  private drained: (() => void)[] = [];
  private readonly previews = new Previews();

  private constructor(options: GatewayOptions) {
    this.options = hideSecret(options);
    this.firstRuns = new Uint32Array(options.graph.spec.stages.length);
  }

  /**
   * Opens a gateway: its inbox listens for results, and requests are taken.
   *
   * @throws RdmaError as Inbox.listen
   */
  static async open(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    const place = await Place.open(gateway.options, gateway);
    gateway.place = place;
    gateway.admission = new Admission(options.graph, options.plan, residentLimit(options, place.sizes));
    gateway.door = new Door(options, gateway.admission);
    return gateway;
  }

  /** Where stage instances connect. */
  get address(): PlaceAddress {
    return this.place.address;
  }

  /** How much memory it and its places take. */
  get sizes(): PlaceSizes {
    return this.place.sizes;
  }

  /** Connects to the places of the plan; requests are admitted when it has. @throws as Outbox.connect */
  async connect(): Promise<void> {
    await this.place.connect();
    this.linked = true;
    this.admit();
  }

  /** Requests in the places, and waiting to be admitted. */
  get load(): { inFlight: number; queued: number } {
    return { inFlight: this.inFlight, queued: this.queue.size };
  }

  // ---- Plans

  /**
   * Admits requests under a newer plan from now on; those that were admitted before go on under theirs. Every place of
   * the plan must have adopted it.
   *
   * @throws as Outbox.connect
   */
  async adopt(plan: Plan): Promise<void> {
    await this.place.adopt(plan);
    this.admission.adopt(this.place.plan);
    this.admit();
  }

  /** Requests that were admitted under a plan and have not ended. */
  inFlightUnder(number: number): number {
    let count = 0;
    for (const ticket of this.tickets.list()) if (ticket.admitted?.plan.number === number) count++;
    return count;
  }

  /**
   * Waits until no request of a plan is under way, then lets go of the plan. Places may retire it afterwards.
   *
   * @param number of a plan that is not the newest
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for the newest plan; RDMA_ERR_CLOSED
   */
  async retire(number: number): Promise<void> {
    if (number === this.place.plan.number) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `plan ${number} is the newest: adopt another one first`);
    }
    while (this.inFlightUnder(number) > 0 && this.place.flaw !== 'early-retirement') {
      if (this.failure !== undefined) throw this.failure;
      await new Promise<void>((resolve) => this.drained.push(resolve));
    }
    await this.place.retire(number);
  }

  /**
   * A place is gone for good: the requests that pass it end there and are admitted again, as new attempts under the
   * newest plan, before all that wait. Adopt a plan without the place first.
   *
   * @returns when the way there is closed
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when the newest plan has the place
   */
  async giveUp(place: PlaceId): Promise<void> {
    const { plan } = this.place;
    if (plan.instances[place.stage]?.includes(place.instance)) {
      const name = placeName(this.options.graph.spec, place);
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `plan ${plan.number} has ${name}`, {
        remedy: 'adopt a plan without it first',
      });
    }
    const again: Ticket[] = [];
    for (const ticket of this.tickets.list()) {
      const { admitted } = ticket;
      if (admitted === undefined || ticket.over) continue;
      if (!takesPart(admitted.plan, admitted.route, this.options.self.instance, place)) continue;
      again.push(this.withdraw(ticket, admitted));
    }
    this.admitAgain(again);
    const closed = this.place.giveUp(place);
    this.admit();
    await closed;
  }

  /** What `resolve` answers may have changed: what is sent to a place that is elsewhere goes there. */
  reviewAddresses(): void {
    this.place.reviewAddresses();
  }

  /**
   * Others have taken this gateway for dead, and may have dropped what was on its way to it: the requests under plans
   * before the newest are admitted again, as new attempts, before all that wait.
   */
  admitOlderAgain(): void {
    const again: Ticket[] = [];
    for (const ticket of this.tickets.list()) {
      const { admitted } = ticket;
      if (admitted === undefined || ticket.over || admitted.plan.number === this.place.plan.number) continue;
      again.push(this.withdraw(ticket, admitted));
    }
    this.admitAgain(again);
    this.admit();
  }

  // ---- Requests whose tasks or places have failed

  /** Whether this attempt of a request has been admitted and has not ended. */
  isUnderWay(request: RequestAttempt): boolean {
    return this.ticketAt(request) !== undefined;
  }

  /** One more try of a request has failed. @returns how many there are; 0 when the request is not under way */
  countTry(request: RequestAttempt): number {
    const ticket = this.ticketAt(request);
    return ticket === undefined ? 0 : ++ticket.tries;
  }

  /** Ends a request with a failure, and with it its tasks in all places; nothing when it is not under way. */
  failRequest(request: RequestAttempt, reason: RdmaError): void {
    const ticket = this.ticketAt(request);
    if (ticket !== undefined) this.cancel(ticket, reason);
  }

  /**
   * A place is broken: of the requests whose task there is not done, those that another instance can take are admitted
   * again, before all that wait, and the others fail. Call {@link Gateway.setAvailability} first.
   *
   * @param reason with which they fail
   */
  abandon(place: PlaceId, reason: RdmaError): void {
    const canMove = this.admission.broken === undefined;
    const again: Ticket[] = [];
    for (const ticket of this.tickets.list()) {
      const { admitted } = ticket;
      if (ticket.over || admitted === undefined) continue;
      if (!admitted.unfinished[place.stage]!.some((load) => load.instance === place.instance)) continue;
      if (canMove) again.push(this.withdraw(ticket, admitted));
      else this.cancel(ticket, reason);
    }
    this.admitAgain(again);
    this.admit();
  }

  private ticketAt({ gateway, gatewayRun, ticket: number, attempt }: RequestAttempt): Ticket | undefined {
    const { self, incarnation } = this.options;
    if (gateway !== self.instance || gatewayRun !== incarnation) return undefined;
    const ticket = this.tickets.get(number);
    const isCurrent = ticket !== undefined && !ticket.over && ticket.admitted !== undefined;
    return isCurrent && ticket.attempt === attempt ? ticket : undefined;
  }

  // What it has in the places ends there.
  private withdraw(ticket: Ticket, admitted: AdmittedRequest): Ticket {
    this.tellEnded(ticket);
    this.leave(ticket, admitted);
    ticket.progress = undefined;
    return ticket;
  }

  /**
   * Says whether an instance takes requests. One that starts, or is broken, gets none. Where no instance of a stage is
   * left that works, requests are refused with the reason.
   *
   * @param place an instance of a stage of the newest plan
   */
  setAvailability(place: PlaceId, availability: Availability): void {
    this.admission.setAvailability(place, availability, this.place.nowUs());
    this.refuseWhereBroken();
    if (this.queue.size > 0) this.admit();
  }

  /**
   * Says how a stage does of which the newest plan has no instance: `asleep`, or `starting`, or `broken`, which refuses
   * all requests with the reason.
   *
   * @param stage its index
   */
  setSleep(stage: number, availability: Availability): void {
    this.admission.setSleep(stage, availability, this.place.nowUs());
    this.refuseWhereBroken();
  }

  private refuseWhereBroken(): void {
    const { broken } = this.admission;
    if (broken === undefined) return;
    for (const ticket of this.queue.list()) this.cancel(ticket, this.door.brokenError(broken));
  }

  // They begin again, before all that wait.
  private admitAgain(tickets: readonly Ticket[]): void {
    this.again += tickets.length;
    this.queue.addAgain(tickets);
    this.wakeDrained();
  }

  // ---- Requests

  private get queue() {
    return this.door.queue;
  }

  /**
   * Sends a request through the workflow.
   *
   * @throws RdmaError RDMA_ERR_REJECTED when it finds no room or would be late, with `retryAfterMs`, `stage` and
   *   `expectedWaitMs`; RDMA_ERR_INVALID_ARGUMENT and RDMA_ERR_MESSAGE_TOO_LARGE for a request that cannot be sent;
   *   RDMA_ERR_DEADLINE; RDMA_ERR_ABORTED; RDMA_ERR_STAGE_FAILED when a handler threw, with its stage; RDMA_ERR_CLOSED
   */
  run(request: PipelineRequest, options?: RequestOptions): Promise<PipelineResult> {
    let checked: CheckedOptions;
    try {
      checked = checkRequestOptions(options);
    } catch (error) {
      return Promise.reject(error);
    }
    if (checked.retries > 0) return this.runAgain(request, checked);
    return new Promise((resolve, reject) => this.take(request, checked, resolve, reject));
  }

  /**
   * Likewise, to be read piece by piece: `for await (const event of gateway.stream(request))`.
   *
   * @returns the pieces as they come, as in RequestOptions.onPiece; its `result` is the whole one. Both reject as
   *   run().
   */
  stream(request: PipelineRequest, options: StreamOptions = {}): RequestStream {
    checkObject('options', options);
    return new RequestStream((own) => this.run(request, own), options);
  }

  private async runAgain(request: PipelineRequest, options: CheckedOptions): Promise<PipelineResult> {
    const { port } = this.options;
    const { signal, timeoutMs } = options;
    const deadlineUs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : port.nowUs() + timeoutMs * 1000;
    let { retryToken } = options;
    for (let left = options.retries; ; left--) {
      const leftMs = timeoutMs === undefined ? undefined : (deadlineUs - port.nowUs()) / 1000;
      try {
        const once = { ...options, retryToken, timeoutMs: leftMs };
        return await new Promise<PipelineResult>((resolve, reject) => this.take(request, once, resolve, reject));
      } catch (error) {
        const { code, retryAfterMs, retryToken: next } = error as RdmaError;
        if (code !== 'RDMA_ERR_REJECTED' || retryAfterMs === undefined || left === 0) throw error;
        const waitMs = retryAfterMs * (1 + RETRY_JITTER * port.random());
        // There would be no time left for it.
        if (port.nowUs() + waitMs * 1000 >= deadlineUs) throw error;
        retryToken = next;
        await pause(waitMs, signal, port.clock);
      }
    }
  }

  /**
   * Judges a request without sending it: whether it would be taken now.
   *
   * @param bytes of its tensors
   * @throws RdmaError RDMA_ERR_REJECTED as run() would; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   */
  check(bytes: number, options?: RequestOptions): void {
    const checked = checkRequestOptions(options);
    if (checked.spread !== undefined) spreadsOf(this.options.graph.spec, checked.spread);
    if (this.failure !== undefined) throw this.failure;
    const newcomer = this.newcomerOf(checked, bytes);
    this.expect(newcomer);
    if (this.queue.size > 0 || this.isFull) this.door.checkRoom(newcomer, this.place.nowUs());
  }

  private newcomerOf(
    { tenant, priority, costClass, units, timeoutMs, retryToken }: CheckedOptions,
    bytes: number,
  ): Newcomer {
    const { costs } = this.door.forecaster;
    const deadlineUs =
      timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.options.port.nowUs() + timeoutMs * 1000;
    return { tenant, priority, deadlineUs, costClass: costs.classOf(costClass, units), units, bytes, retryToken };
  }

  private expect(newcomer: Newcomer): Expectation | undefined {
    return this.door.expect(newcomer, this.place.nowUs(), this.tickets.size === 0 && this.queue.size === 0);
  }

  // What it throws rejects the promise that it was made for.
  private take(
    request: PipelineRequest,
    options: CheckedOptions,
    resolve: (result: PipelineResult) => void,
    reject: (error: RdmaError) => void,
  ): void {
    const { signal, timeoutMs } = options;
    if (this.failure !== undefined) throw this.failure;
    if (signal?.aborted) throw abortedError(signal);
    checkObject('request', request);
    const { port, graph } = this.options;
    const { maxRequestBytes } = graph.spec;
    const outgoing = this.place.prepare(
      request.parts,
      request.meta === undefined ? NO_BYTES : encodeMeta(request.meta),
      options.traceRecords,
      maxRequestBytes,
      `maxRequestBytes of the workflow (${maxRequestBytes})`,
      undefined,
    );
    const newcomer = this.newcomerOf(options, outgoing.bytes);
    const expectation = this.expect(newcomer);
    const nowUs = port.nowUs();
    const traced = options.trace ?? this.isSampled();
    const ticket = new Ticket(newcomer, options, traced, outgoing, expectation, nowUs, resolve, reject);
    if (options.onPiece !== undefined) {
      ticket.pieces = new PieceTeller(options.onPiece, options.views, () => ticket.over);
    }
    if (options.spread !== undefined) ticket.spreads = spreadsOf(graph.spec, options.spread);
    // Behind others that wait, it would wait too.
    if (this.queue.size > 0 || !this.tryDispatch(ticket)) {
      if (ticket.over) return;
      this.door.checkRoom(newcomer, nowUs);
      ticket.chargeUs = this.door.forecaster.chargeUs(newcomer);
      this.queue.add(ticket);
      this.admit();
    }
    if (ticket.over) return;
    if (timeoutMs !== undefined) ticket.stopTimer = this.watchDeadline(ticket, timeoutMs);
    if (signal !== undefined) ticket.stopListening = onAbort(signal, () => this.cancel(ticket, abortedError(signal)));
  }

  // Ends it when its time is over; while it waits, as soon as it cannot be done in time any more.
  private watchDeadline(ticket: Ticket, timeoutMs: number): () => void {
    const { clock } = this.options.port;
    const text = `no result within ${Math.round(timeoutMs)} ms`;
    let stop: () => void;
    const late = () => {
      this.learnLate(ticket, ticket.deadlineUs - ticket.queuedAtUs);
      this.cancel(ticket, new RdmaError('RDMA_ERR_DEADLINE', text));
    };
    const leftMs = () => Math.max(0, (ticket.deadlineUs - this.place.nowUs()) / 1000);
    const aloneMs = this.door.forecaster.aloneUs(ticket) / 1000;
    if (ticket.number > 0 || !(aloneMs >= MIN_WATCHED_MS && aloneMs < leftMs())) {
      stop = clock.after(leftMs(), late);
    } else {
      stop = clock.after(leftMs() - aloneMs, () => {
        if (this.endHopeless(ticket)) return;
        stop = clock.after(leftMs(), late);
      });
    }
    return () => stop();
  }

  // It takes longer than it was expected to, by what is known so far.
  private learnLate({ expectation }: Ticket, leastUs: number): void {
    if (expectation !== undefined) this.door.forecaster.settled(expectation, leastUs);
  }

  // True when it has ended: it waits still, and even at once it would be late.
  private endHopeless(ticket: Ticket): boolean {
    if (ticket.over || ticket.number > 0 || ticket.deadlineUs === Number.POSITIVE_INFINITY) return ticket.over;
    const aloneUs = this.door.forecaster.aloneUs(ticket);
    if (!(this.place.nowUs() + aloneUs > ticket.deadlineUs) || this.tickets.size === 0) return false;
    this.door.hopeless++;
    this.learnLate(ticket, this.place.nowUs() + aloneUs - ticket.queuedAtUs);
    this.cancel(ticket, new RdmaError('RDMA_ERR_DEADLINE', 'it waited until it could not be done in time any more'));
    return true;
  }

  private get inFlight(): number {
    return this.tickets.size - this.again;
  }

  private get isFull(): boolean {
    return this.inFlight >= this.options.maxInFlight;
  }

  private isSampled(): boolean {
    const nowMs = this.options.port.nowUs() / 1000;
    if (nowMs - this.lastTraceMs < TRACE_EVERY_MS) return false;
    this.lastTraceMs = nowMs;
    return true;
  }

  private admit(): void {
    if (this.admitting || !this.linked) return;
    this.admitting = true;
    try {
      const { queue } = this;
      for (let ticket = queue.first(); ticket !== undefined && this.failure === undefined; ticket = queue.first()) {
        // Of several that one signal aborts, the first makes room before the others have heard of it.
        if (ticket.over || ticket.signal?.aborted) queue.remove(ticket);
        else if (this.isFull) return;
        else if (this.endHopeless(ticket)) continue;
        else {
          const admitted = this.admission.admit(this.place.nowUs(), ticket.spreads);
          if (admitted === undefined) return;
          queue.shift();
          if (this.dispatch(ticket, admitted)) continue;
          this.queue.addAgain([ticket]);
          return;
        }
      }
    } finally {
      this.admitting = false;
    }
  }

  private isWatched(ticket: Ticket): boolean {
    return this.options.onTask !== undefined || ticket.onProgress !== undefined || ticket.onTask !== undefined;
  }

  // For a newcomer when nobody waits. False: it has to wait.
  private tryDispatch(ticket: Ticket): boolean {
    if (this.admitting || !this.linked || this.isFull) return false;
    const admitted = this.admission.admit(this.place.nowUs(), ticket.spreads);
    return admitted !== undefined && this.dispatch(ticket, admitted);
  }

  // False when there is no memory for it now: it waits, and is tried again when something has ended.
  private dispatch(ticket: Ticket, admitted: AdmittedRequest): boolean {
    const { self, incarnation } = this.options;
    const isAgain = ticket.number > 0;
    if (isAgain) this.again--;
    else ticket.number = ++this.lastNumber;
    ticket.attempt++;
    ticket.admitted = admitted;
    this.door.forecaster.sent(ticket);
    this.tickets.set(ticket.number, ticket);
    const { outgoing } = ticket;
    const envelope: Envelope = {
      flags: (ticket.traced ? Flag.TRACED : 0) | (this.isWatched(ticket) ? Flag.WATCHED : 0),
      plan: admitted.plan.number,
      gateway: self.instance,
      gatewayRun: incarnation,
      ticket: ticket.number,
      attempt: ticket.attempt,
      finishedBelow: this.oldest,
      fromStage: GATEWAY_INDEX,
      fromInstance: self.instance,
      incarnation,
      remainingMs:
        ticket.deadlineUs === Number.POSITIVE_INFINITY
          ? NO_DEADLINE
          : remainingMs(ticket.deadlineUs, this.place.nowUs()),
      sentAtUs: 0,
      host: 0,
      queueUs: 0,
      computeUs: 0,
      task: 0,
      piece: NO_STREAM,
      pieces: NO_STREAM,
      route: admitted.route,
      runs: this.firstRuns,
      bodyBytes: 0,
      partCount: 0,
      traceBytes: 0,
      tableBytes: 0,
      metaBytes: 0,
      block: undefined,
    };
    const targets = this.place.receiversOf(admitted.plan, self.instance, admitted.route);
    if (this.place.mayAnnounce(outgoing.bytes / COPIED_BYTES_PER_US)) {
      this.place.announce(targets, this.place.nowUs());
    }
    try {
      if (this.place.transmit(envelope, outgoing, targets, NO_BLOCKS, this.onSettled)) {
        if (this.tickets.size === 1) this.announce(admitted, targets);
        return true;
      }
    } catch (error) {
      this.end(ticket);
      ticket.reject(
        error instanceof RdmaError ? error : new RdmaError('RDMA_ERR_PEER_GONE', String(error), { cause: error }),
      );
      return true;
    }
    this.leave(ticket, admitted);
    ticket.attempt--;
    // A number that places have seen stays in its order: without it they would take the request for one that has ended.
    if (isAgain) this.again++;
    else {
      this.tickets.delete(ticket.number);
      ticket.number = 0;
      this.lastNumber--;
    }
    return false;
  }

  // It is in its places no more.
  private leave(ticket: Ticket, admitted: AdmittedRequest): void {
    this.door.forecaster.ended(admitted, ticket);
    this.admission.ended(admitted);
    ticket.admitted = undefined;
  }

  // After a rest all places of the route sleep. They wake up together, instead of one after the other.
  private announce({ plan, route }: AdmittedRequest, first: readonly string[]): void {
    const nowMs = this.place.nowUs() / 1000;
    const rested = nowMs - this.lastAnnouncedMs > REST_MS;
    this.lastAnnouncedMs = nowMs;
    if (!rested || this.options.pollUs === 0) return;
    for (let stage = 0; stage < route.length; stage++) {
      for (const instance of placesOf(plan, route, stage)) {
        const name = placeName(this.options.graph.spec, { stage, instance });
        if (!first.includes(name)) this.place.sendNote(name, this.place.coming);
      }
    }
    this.place.poller.linger(LINGER_US);
  }

  private readonly onSettled = (): void => {
    if (this.queue.size > 0) this.admit();
  };

  /** Ticket of the oldest request that has not ended, or of the next one. */
  private get oldest(): number {
    const { tickets, lastNumber } = this;
    while (this.firstOpen <= lastNumber && !tickets.has(this.firstOpen)) this.firstOpen++;
    return this.firstOpen;
  }

  // The caller does not want it any more, or it is too late.
  private cancel(ticket: Ticket, reason: RdmaError): void {
    if (ticket.over) return;
    ticket.reject(reason);
    if (ticket.admitted === undefined) this.queue.remove(ticket);
    this.tellEnded(ticket);
    this.end(ticket);
    this.admit();
  }

  private tellEnded(ticket: Ticket): void {
    if (ticket.admitted === undefined) return;
    const { plan, route } = ticket.admitted;
    const { graph, incarnation } = this.options;
    const note = encodeEnded(this.place.noteHead(incarnation), ticket.number, ticket.attempt);
    for (let stage = 0; stage < route.length; stage++) {
      for (const instance of placesOf(plan, route, stage)) {
        this.place.sendNote(placeName(graph.spec, { stage, instance }), note);
      }
    }
  }

  private end(ticket: Ticket): void {
    if (ticket.number > 0 && this.tickets.delete(ticket.number) && ticket.admitted === undefined) this.again--;
    if (ticket.admitted !== undefined) {
      this.leave(ticket, ticket.admitted);
      this.wakeDrained();
    }
  }

  private wakeDrained(): void {
    if (this.drained.length === 0) return;
    for (const wake of this.drained.splice(0)) wake();
  }

  // ---- What the place says

  /** @internal */
  onComplete(joined: JoinedInputs): void {
    const ticket = this.ticketOf(joined);
    joined.state = 'sent';
    if (ticket === undefined) {
      this.place.join.settle(joined); // a second result of a request that has ended
      return;
    }
    const { admitted } = ticket;
    const nowUs = this.place.nowUs();
    if (admitted !== undefined && this.isWatched(ticket)) this.tellUnreported(ticket, admitted, joined);
    for (const input of joined.inputs as Input[]) {
      const { fromStage: stage, fromInstance: instance, queueUs, computeUs } = input.envelope;
      if (admitted !== undefined) this.done(ticket, admitted, { stage, instance }, queueUs, computeUs, nowUs);
      this.emitTask('done', ticket, stage, instance, { queueUs, computeUs });
    }
    this.end(ticket);
    try {
      this.answer(ticket, joined);
    } catch (error) {
      // No memory for the copy, or metadata that is not JSON.
      this.place.join.settle(joined);
      const text = `the result cannot be read: ${String(error)}`;
      ticket.reject(new RdmaError('RDMA_ERR_STAGE_FAILED', text, { cause: error }));
    }
    if (this.queue.size > 0) this.admit();
  }

  // Reports come by other lanes than the result, and those that come after it are dropped. What they would say is
  // known: the tasks that the result was made from have begun and are done.
  private tellUnreported(ticket: Ticket, { unfinished }: AdmittedRequest, joined: JoinedInputs): void {
    for (let stage = 0; stage < unfinished.length; stage++) {
      for (const { instance } of unfinished[stage]!) {
        const isSender = (joined.inputs as Input[]).some(
          ({ envelope }) => envelope.fromStage === stage && envelope.fromInstance === instance,
        );
        if (isSender) continue; // told with its own times
        if (ticket.progress?.hasStarted({ stage, instance }) !== true)
          this.emitTask('task', ticket, stage, instance, {});
        this.emitTask('done', ticket, stage, instance, {});
      }
    }
  }

  private done(
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

  /** @internal */
  onPieces(joined: JoinedInputs): void {
    const ticket = this.ticketOf(joined);
    if (ticket?.pieces === undefined) return;
    try {
      ticket.pieces.deliver(joined);
    } catch (cause) {
      this.cancel(ticket, new RdmaError('RDMA_ERR_HANDLER', `onPiece has failed: ${String(cause)}`, { cause }));
    }
  }

  private ticketOf(joined: JoinedInputs): Ticket | undefined {
    if (joined.ledger.gatewayRun !== this.options.incarnation) return undefined;
    const ticket = this.tickets.get(joined.ticket);
    if (ticket === undefined || ticket.over) return undefined;
    return ticket.attempt === joined.attempt ? ticket : undefined;
  }

  private answer(ticket: Ticket, joined: JoinedInputs): void {
    const { graph, self } = this.options;
    const outputs: PipelineOutput[] = [];
    const { views, pieces } = ticket;
    for (const { stage, instance, meta, parts } of joined.inputs as Input[]) {
      const stream = joined.streams?.[outputs.length];
      const output: PipelineOutput = { stage, instance, meta, parts: views ? { ...parts } : copyParts(parts) };
      if (stream !== undefined) output.pieces = piecesOf(stream, views, pieces);
      outputs.push(output);
    }
    let trace: Trace | undefined;
    if (ticket.traced) {
      const records = new TraceRecords();
      addHops(records, joined, GATEWAY_INDEX, self.instance);
      trace = readTrace(graph.spec, records.encoded);
    }
    const { join } = this.place;
    if (!ticket.views) join.settle(joined);
    let isHeld = ticket.views;
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      join.settle(joined);
    };
    const request = requestName(self.instance, joined.ledger.gatewayRun, joined.ticket);
    const { expectation } = ticket;
    if (expectation !== undefined) this.door.forecaster.settled(expectation, this.place.nowUs() - ticket.queuedAtUs);
    const expectedMs = expectation === undefined ? undefined : expectation.completionUs / 1000;
    ticket.resolve({ request, outputs, trace, expectedMs, release });
  }

  /** @internal */
  onNote(kind: number, bytes: Uint8Array, view: DataView): void {
    const head = readNoteHead(bytes, view, this.options.graph.spec.stages.length);
    if (head.stage === GATEWAY_INDEX) throw new RdmaError('RDMA_ERR_PROTOCOL', 'gateways send no notes to gateways');
    if (kind === Kind.REPORTS) {
      for (const record of readReports(bytes, view)) this.onReport(head, head.gatewayRun, record);
    } else if (kind === Kind.FAILURE) {
      const { ticket, attempt, failure } = readFailure(bytes, view);
      if (head.gatewayRun === this.options.incarnation) this.onFailure(head, ticket, attempt, failure);
    } else if (kind === Kind.PROGRESS) {
      const note = this.previews.take(head, bytes, view);
      if (note !== undefined) this.onProgress(head, head.gatewayRun, note);
    } else throw new RdmaError('RDMA_ERR_PROTOCOL', `a note of the unknown kind ${kind}`);
  }

  private onProgress(from: PlaceId, gatewayRun: number, note: ProgressNote): void {
    const ticket = gatewayRun === this.options.incarnation ? this.tickets.get(note.ticket) : undefined;
    if (ticket === undefined || ticket.over || ticket.attempt !== note.attempt || from.stage < 0) return;
    const { graph, self, incarnation } = this.options;
    const { costs } = this.door.forecaster;
    const behind = behindUs(graph.behind, from.stage, (stage) => ticket.units * costs.unitUs(stage, ticket.costClass));
    const { done, step, preview } = note;
    const remainingUs = ticket.progress?.remainingUs(from, done, this.place.nowUs(), behind);
    const more = {
      done,
      ...(step === undefined ? {} : { step }),
      ...(preview === undefined ? {} : { preview }),
      ...(remainingUs === undefined ? {} : { remainingMs: remainingUs / 1000 }),
    };
    this.emitTask('progress', ticket, from.stage, from.instance, more);
    const request = requestName(self.instance, incarnation, ticket.number);
    ticket.onProgress?.({ request, stage: graph.spec.stages[from.stage]!.name, instance: from.instance, ...more });
  }

  private onReport(from: PlaceId, gatewayRun: number, record: ReportRecord): void {
    const { what, ticket: number, attempt, queueUs, computeUs, progress } = record;
    const isOwn = gatewayRun === this.options.incarnation;
    const ticket = isOwn ? this.tickets.get(number) : undefined;
    const isCurrent = ticket !== undefined && !ticket.over && ticket.attempt === attempt;
    if (what === Report.INCOMPLETE) {
      // What has ended here will never be complete there: a sender has its acknowledgement and sends no more.
      const isEnded = ticket === undefined || ticket.attempt > attempt || ticket.admitted === undefined;
      if (isEnded) {
        const { stage, instance } = this.options.self;
        const note = encodeEnded({ stage, instance, gatewayRun }, number, attempt);
        this.place.sendNote(placeName(this.options.graph.spec, from), note);
      }
      return;
    }
    if (!isCurrent) return;
    if (what === Report.STARTED) {
      ticket.progress ??= new RequestProgress();
      ticket.progress.started(from, this.place.nowUs());
      this.emitTask('task', ticket, from.stage, from.instance, {});
    } else if (what === Report.PROGRESS) {
      this.onProgress(from, gatewayRun, {
        ticket: number,
        attempt,
        done: progress,
        step: undefined,
        preview: undefined,
      });
    } else {
      const { admitted } = ticket;
      if (admitted !== undefined) this.done(ticket, admitted, from, queueUs, computeUs, this.place.nowUs());
      this.emitTask('done', ticket, from.stage, from.instance, { queueUs, computeUs });
      if (this.queue.size > 0) this.admit();
    }
  }

  private onFailure(from: PlaceId, number: number, attempt: number, failure: StageFailure): void {
    const ticket = this.tickets.get(number);
    if (ticket === undefined || ticket.over || ticket.attempt !== attempt) return;
    const name = this.options.graph.spec.stages[from.stage]?.name ?? 'unknown';
    this.emitTask('failed', ticket, from.stage, from.instance, {});
    const { admitted } = ticket;
    const attempts = this.options.graph.spec.stages[from.stage]?.attempts ?? 1;
    if (failure.retryable === true && admitted !== undefined && ++ticket.tries < attempts) {
      this.admitAgain([this.withdraw(ticket, admitted)]);
      this.admit();
      return;
    }
    if (failure.code === 'RDMA_ERR_DEADLINE') this.learnLate(ticket, ticket.deadlineUs - ticket.queuedAtUs);
    const code = failure.code === 'RDMA_ERR_DEADLINE' ? 'RDMA_ERR_DEADLINE' : 'RDMA_ERR_STAGE_FAILED';
    this.cancel(ticket, new RdmaError(code, `stage ${name} failed: ${failure.message}`, { stage: name }));
  }

  private emitTask(
    type: TaskEvent['type'],
    ticket: Ticket,
    stage: number,
    instance: number,
    more: Partial<TaskEvent>,
  ): void {
    const { onTask, self, incarnation, graph } = this.options;
    if ((onTask === undefined && ticket.onTask === undefined) || stage < 0) return;
    const request = requestName(self.instance, incarnation, ticket.number);
    const event = { type, request, stage: graph.spec.stages[stage]!.name, instance, ...more };
    onTask?.(event);
    ticket.onTask?.(event);
  }

  /** @internal */
  onIncomplete(joined: JoinedInputs): void {
    if (this.ticketOf(joined) === undefined) this.place.join.end(joined);
  }

  /** @internal */
  onUnreadable(joined: JoinedInputs, reason: RdmaError): void {
    const ticket = this.ticketOf(joined);
    this.place.join.end(joined);
    if (ticket !== undefined) this.cancel(ticket, reason);
  }

  /** @internal */
  onFailed(reason: RdmaError): void {
    this.fail(reason);
  }

  // ---- State and end

  /** What an operator asks. Computed at each call; not for hot loops. */
  status(): GatewayStatus {
    const queue = this.door.status(this.place.nowUs());
    const instances = this.admission.status();
    const { forecaster } = this.door;
    return {
      ...this.place.status(),
      queued: queue.requests,
      inFlight: this.inFlight,
      queue,
      ...forecaster.status(),
      instances,
    };
  }

  /** Ends every request with `reason`, and every later one. */
  fail(reason: RdmaError): void {
    if (this.failure !== undefined) return;
    this.failure = reason;
    this.rejectAll(reason);
    this.options.onFailed(reason);
  }

  private rejectAll(reason: RdmaError): void {
    const tickets = [...this.tickets.list(), ...this.queue.list()];
    this.tickets.clear();
    this.again = 0;
    this.queue.clear();
    for (const ticket of tickets) if (!ticket.over) ticket.reject(reason);
    this.wakeDrained();
  }

  /** Ends every request with RDMA_ERR_CLOSED and closes what was opened. */
  async close(): Promise<void> {
    this.failure ??= new RdmaError('RDMA_ERR_CLOSED', 'the pipeline is closed');
    this.rejectAll(this.failure);
    await this.place.close();
  }
}

// Gateways share what may be resident at a place, and what the pool of the largest sender has room for.
function residentLimit({ graph, plan }: GatewayOptions, sizes: PlaceSizes): number {
  const { spec } = graph;
  const most = Math.min(residentRequests(spec, sizes), Math.floor(sizes.poolBytes / outputRoom(spec)));
  return Math.max(1, Math.floor(most / plan.gateways.length));
}
