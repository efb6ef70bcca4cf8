// The gateway: where requests enter a pipeline and results leave it. It has the only queue.
//
// Invariant: an accepted request ends exactly once: with its result, a failure, or an error that says why. A request
// lives and dies under the plan that admitted it; if it is admitted again that is a new attempt, and nothing of an
// older attempt becomes part of its result.
import { onAbort } from '../core/abort.js';
import { RdmaError } from '../core/errors.js';
import { hideSecret } from '../core/secret.js';
import { checkObject } from '../core/validate.js';
import type { Availability } from './admission.js';
import { watchDeadline } from './deadline-watch.js';
import type { Newcomer } from './door.js';
import type { Expectation } from './forecaster.js';
import type { GatewayOptions, GatewayStatus } from './gateway-options.js';
import type { PlaceSizes } from './lane-sizes.js';
import { encodeMeta } from './meta.js';
import { Outcomes } from './outcomes.js';
import { Place } from './place.js';
import type { PlaceAddress } from './place-address.js';
import { type PlaceId, type Plan, placeName } from './plan.js';
import {
  abortedError,
  type CheckedOptions,
  checkRequestOptions,
  type PipelineRequest,
  type PipelineResult,
  type RequestOptions,
} from './request.js';
import { RequestKeeper } from './request-keeper.js';
import { runWithRetries } from './retries.js';
import { takesPart } from './routing.js';
import { spreadsOf } from './spread.js';
import { PieceTeller } from './stream-caller.js';
import { RequestStream, type StreamOptions } from './stream-request.js';
import type { RequestAttempt } from './task-board.js';
import { TaskEvents } from './task-events.js';
import { Ticket } from './ticket.js';

/** At most one request in so many ms is traced without being asked for. */
const TRACE_EVERY_MS = 10;
const NO_BYTES = new Uint8Array(0);

/** Where requests enter a pipeline. Made by {@link Gateway.open}. */
export class Gateway {
  private readonly options: GatewayOptions;
  private readonly place: Place;
  private readonly keeper: RequestKeeper;
  private readonly outcomes: Outcomes;
  private lastTraceMs = Number.NEGATIVE_INFINITY;

  private constructor(options: GatewayOptions, place: Place) {
    this.options = options;
    this.place = place;
    const events = new TaskEvents(options);
    this.keeper = new RequestKeeper(options, place, events);
    this.outcomes = new Outcomes(options, place, this.keeper, events);
  }

  /**
   * Opens a gateway: its inbox listens for results, and requests are taken.
   *
   * @throws RdmaError as Inbox.listen
   */
  static async open(options: GatewayOptions): Promise<Gateway> {
    const hidden: GatewayOptions = hideSecret(options);
    let gateway: Gateway;
    const place = await Place.open(hidden, {
      onComplete: (joined) => gateway.outcomes.onComplete(joined),
      onPieces: (joined) => gateway.outcomes.onPieces(joined),
      onNote: (kind, bytes, view) => gateway.outcomes.onNote(kind, bytes, view),
      onIncomplete: (joined) => gateway.outcomes.onIncomplete(joined),
      onUnreadable: (joined, reason) => gateway.outcomes.onUnreadable(joined, reason),
      onFailed: (reason) => gateway.fail(reason),
    });
    gateway = new Gateway(hidden, place);
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
    this.keeper.begin();
  }

  /** Requests in the places, and waiting to be admitted. */
  get load(): { inFlight: number; queued: number } {
    return { inFlight: this.keeper.underWay.inFlight, queued: this.keeper.door.queue.size };
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
    this.keeper.adopt(this.place.plan);
  }

  /** Requests that were admitted under a plan and have not ended. */
  inFlightUnder(number: number): number {
    return this.keeper.underWay.countUnder(number);
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
      if (this.keeper.failure !== undefined) throw this.keeper.failure;
      await this.keeper.underWay.fewer();
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
    const { self } = this.options;
    this.keeper.admitAgainWhere(({ plan, route }) => takesPart(plan, route, self.instance, place));
    const closed = this.place.giveUp(place);
    this.keeper.admit();
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
    this.keeper.admitAgainWhere(({ plan }) => plan.number !== this.place.plan.number);
    this.keeper.admit();
  }

  // ---- Requests whose tasks or places have failed

  /** Whether this attempt of a request has been admitted and has not ended. */
  isUnderWay(request: RequestAttempt): boolean {
    return this.keeper.underWay.findAttempt(request) !== undefined;
  }

  /** One more try of a request has failed. @returns how many there are; 0 when the request is not under way */
  countTry(request: RequestAttempt): number {
    const ticket = this.keeper.underWay.findAttempt(request);
    return ticket === undefined ? 0 : ++ticket.tries;
  }

  /** Ends a request with a failure, and with it its tasks in all places; nothing when it is not under way. */
  failRequest(request: RequestAttempt, reason: RdmaError): void {
    const ticket = this.keeper.underWay.findAttempt(request);
    if (ticket !== undefined) this.keeper.cancel(ticket, reason);
  }

  /**
   * A place is broken: of the requests whose task there is not done, those that another instance can take are admitted
   * again, before all that wait, and the others fail. Call {@link Gateway.setAvailability} first.
   *
   * @param reason with which they fail
   */
  abandon(place: PlaceId, reason: RdmaError): void {
    this.keeper.abandon(place, reason);
  }

  /**
   * Says whether an instance takes requests. One that starts, or is broken, gets none. Where no instance of a stage is
   * left that works, requests are refused with the reason.
   *
   * @param place an instance of a stage of the newest plan
   */
  setAvailability(place: PlaceId, availability: Availability): void {
    this.keeper.setAvailability(place, availability);
  }

  /**
   * Sets the state of a stage that has no instance in the newest plan: `asleep`, or `starting`, or `broken`, which
   * refuses all requests with the reason.
   *
   * @param stage its index
   */
  setSleep(stage: number, availability: Availability): void {
    this.keeper.setSleep(stage, availability);
  }

  // ---- Requests

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
    if (checked.retries === 0) return this.runOnce(request, checked);
    return runWithRetries(checked, this.options.port, (once) => this.runOnce(request, once));
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

  private runOnce(request: PipelineRequest, options: CheckedOptions): Promise<PipelineResult> {
    return new Promise((resolve, reject) => this.take(request, options, resolve, reject));
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
    if (this.keeper.failure !== undefined) throw this.keeper.failure;
    const newcomer = this.newcomerOf(checked, bytes);
    this.expect(newcomer);
    if (this.keeper.isBusy) this.keeper.door.checkRoom(newcomer, this.place.nowUs());
  }

  private newcomerOf(
    { tenant, priority, costClass, units, timeoutMs, retryToken }: CheckedOptions,
    bytes: number,
  ): Newcomer {
    const { costs } = this.keeper.door.forecaster;
    const deadlineUs =
      timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.options.port.nowUs() + timeoutMs * 1000;
    return { tenant, priority, deadlineUs, costClass: costs.classOf(costClass, units), units, bytes, retryToken };
  }

  private expect(newcomer: Newcomer): Expectation | undefined {
    return this.keeper.door.expect(newcomer, this.place.nowUs(), this.keeper.isIdle);
  }

  // What it throws rejects the promise that it was made for.
  private take(
    request: PipelineRequest,
    options: CheckedOptions,
    resolve: (result: PipelineResult) => void,
    reject: (error: RdmaError) => void,
  ): void {
    const { signal, timeoutMs } = options;
    const { keeper } = this;
    if (keeper.failure !== undefined) throw keeper.failure;
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
    keeper.take(ticket, newcomer, nowUs);
    if (ticket.over) return;
    if (timeoutMs !== undefined) {
      const aloneMs = keeper.door.forecaster.aloneUs(ticket) / 1000;
      ticket.stopTimer = watchDeadline(ticket, port, keeper, timeoutMs, aloneMs);
    }
    if (signal !== undefined) ticket.stopListening = onAbort(signal, () => keeper.cancel(ticket, abortedError(signal)));
  }

  private isSampled(): boolean {
    const nowMs = this.options.port.nowUs() / 1000;
    if (nowMs - this.lastTraceMs < TRACE_EVERY_MS) return false;
    this.lastTraceMs = nowMs;
    return true;
  }

  // ---- State and end

  /** What an operator asks. Computed at each call; not for hot loops. */
  status(): GatewayStatus {
    const { admission, door, underWay } = this.keeper;
    const queue = door.status(this.place.nowUs());
    return {
      ...this.place.status(),
      queued: queue.requests,
      inFlight: underWay.inFlight,
      queue,
      ...door.forecaster.status(),
      instances: admission.status(),
    };
  }

  /** Ends every request with `reason`, and every later one. */
  fail(reason: RdmaError): void {
    if (this.keeper.failure !== undefined) return;
    this.keeper.close(reason);
    this.options.onFailed(reason);
  }

  /** Ends every request with RDMA_ERR_CLOSED and closes what was opened. */
  async close(): Promise<void> {
    this.keeper.close(new RdmaError('RDMA_ERR_CLOSED', 'the pipeline is closed'));
    await this.place.close();
  }
}
