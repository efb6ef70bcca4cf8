// The gateway: where requests enter a pipeline and results leave it. It has the only queue.
//
// Invariant: a request that was taken ends exactly once: with its result, a failure, or an error that says why. Until
// then the gateway holds what is needed to admit it again. A request lives and dies under the plan that admitted it; one
// that is admitted again is a new attempt, and nothing of an older attempt becomes part of its result.
import { onAbort } from '../core/abort.js';
import { RdmaError } from '../core/errors.js';
import { hideSecret } from '../core/secret.js';
import { checkAbortSignal, checkBoolean, checkInteger, checkObject } from '../core/validate.js';
import type { Block, InboxAddress } from '../ring/index.js';
import { Admission, type AdmittedRequest, type InstanceLoad } from './admission.js';
import { type Envelope, Flag, Kind, NO_DEADLINE } from './envelope.js';
import type { Input } from './input.js';
import type { Joined } from './join.js';
import type { PlaceSizes } from './lane-sizes.js';
import { encodeMeta, type Meta } from './meta.js';
import {
  encodeEnded,
  readFailure,
  readNoteHead,
  readReports,
  Report,
  type ReportRecord,
  type StageFailure,
} from './notes.js';
import { LINGER_US, type Outgoing, Place, type PlaceOptions, type PlaceOwner, type PlaceStatus } from './place.js';
import { GATEWAY_INDEX, type PlaceId, type Plan, placeName } from './plan.js';
import { placesOf, takesPart } from './routing.js';
import type { Parts } from './body.js';
import { addHops, remainingMs } from './stage-instance.js';
import { requestName } from './task.js';
import { TicketMap } from './ticket-map.js';
import { copyTensor, type Tensor } from './tensor.js';
import { readTrace, type Trace, type TraceContext, TraceRecords } from './trace.js';

/** What a caller asks for. The tensors must stay as they are until the promise of run() settles. */
export interface PipelineRequest {
  meta?: Meta;
  parts?: Parts;
}

/** What a request costs, as its caller knows it. */
export interface RequestCost {
  /** Lower-case letters, digits and dashes, 1 to 63. */
  class: string;
  /** A positive number; default 1. */
  units?: number;
}

/** How to run a request. */
export interface RequestOptions {
  /** The request fails with RDMA_ERR_DEADLINE after this many ms, 1 to 2^31 - 1; default never. */
  timeoutMs?: number;
  /** Whose request it is, 1 to 64 characters; default `default`. Tenants of one priority have equal shares. */
  tenant?: string;
  /** Requests of a larger number go first, whatever waits behind them, -100 to 100; default 0. */
  priority?: number;
  /** What it costs: requests of one class cost the same for each unit, for example frames times steps. */
  cost?: RequestCost;
  signal?: AbortSignal;
  /** The result's tensors are views of received memory, until {@link PipelineResult.release}; default false: copies. */
  views?: boolean;
  /** Says where the time went ({@link PipelineResult.trace}); default: of at most a hundred requests a second. */
  trace?: boolean;
  /** The trace of the caller's that the request belongs to; for those that watch the pipeline. */
  traceContext?: TraceContext;
}

/** What one instance of a last stage answered. */
export interface PipelineOutput {
  stage: string;
  instance: number;
  meta: Meta;
  parts: Record<string, Tensor>;
}

/** The result of a request. */
export interface PipelineResult {
  request: string;
  /** Of every last stage, and each of its instances when it is sharded. */
  outputs: PipelineOutput[];
  /** Where the time went; undefined when the request was not traced. */
  trace: Trace | undefined;
  /**
   * Gives the memory of views back to the stages that made it; the views must not be used afterwards. With copies, and
   * a second time, it does nothing.
   */
  release(): void;
}

/** What happens to a request in the places, as far as the gateway is told. */
export interface TaskEvent {
  type: 'task' | 'progress' | 'done' | 'failed';
  request: string;
  stage: string;
  instance: number;
  /** Of `progress`: 0 to 1. */
  done?: number;
  /** Of `done`, in microseconds. */
  queueUs?: number;
  computeUs?: number;
}

/** How to open a gateway. */
export interface GatewayOptions extends PlaceOptions {
  /** Requests that may be admitted and not ended, whatever room the places have; 1 to 65536. */
  maxInFlight: number;
  /** Requests that may wait to be admitted. */
  maxQueued: number;
  /** Called when the gateway cannot go on. */
  onFailed: (reason: RdmaError) => void;
  /** Called with what happens to requests; undefined: places do not report it. */
  onTask?: ((event: TaskEvent) => void) | undefined;
}

/** Answered by {@link Gateway.status}. */
export interface GatewayStatus extends PlaceStatus {
  readonly queued: number;
  readonly inFlight: number;
  /** Every instance that this gateway sends requests through. */
  readonly instances: readonly (InstanceLoad & { window: number; serviceUs: number | undefined })[];
}

/** At most one request in so many ms is traced without being asked for. */
const TRACE_EVERY_MS = 10;
/** After so many ms without a request the places of a pipeline sleep. */
const REST_MS = 5;
/** How fast a request is copied into the memory that it is sent from. */
const COPIED_BYTES_PER_US = 2 ** 13;
const NO_BYTES = new Uint8Array(0);
const NO_BLOCKS: readonly Block[] = [];

/** A request between run() and its end. */
interface Ticket {
  number: number; // 0: it was never admitted
  attempt: number;
  admitted: AdmittedRequest | undefined;
  readonly outgoing: Outgoing;
  readonly deadlineUs: number;
  readonly views: boolean;
  readonly traced: boolean;
  readonly signal: AbortSignal | undefined;
  over: boolean;
  readonly resolve: (result: PipelineResult) => void;
  readonly reject: (error: RdmaError) => void;
}

/** The door of a pipeline. Made by {@link Gateway.open}. */
export class Gateway implements PlaceOwner {
  private readonly options: GatewayOptions;
  private admission!: Admission;
  private readonly firstRuns: Uint32Array;
  private readonly tickets = new TicketMap<Ticket>(); // admitted at least once
  private queue: Ticket[] = [];
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
    return gateway;
  }

  /** Where stage instances connect. */
  get address(): InboxAddress {
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
    return { inFlight: this.inFlight, queued: this.queue.length };
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
      this.tellEnded(ticket);
      this.admission.ended(admitted);
      ticket.admitted = undefined;
      again.push(ticket);
    }
    this.again += again.length;
    this.queue = [...again, ...this.queue];
    this.wakeDrained();
    const closed = this.place.giveUp(place);
    this.admit();
    await closed;
  }

  // ---- Requests

  /**
   * Sends a request through the workflow.
   *
   * @throws RdmaError RDMA_ERR_REJECTED when too many wait already; RDMA_ERR_INVALID_ARGUMENT and
   *   RDMA_ERR_MESSAGE_TOO_LARGE for a request that cannot be sent; RDMA_ERR_DEADLINE; RDMA_ERR_ABORTED;
   *   RDMA_ERR_STAGE_FAILED when a handler threw, with its stage; RDMA_ERR_CLOSED
   */
  run(request: PipelineRequest, options: RequestOptions = {}): Promise<PipelineResult> {
    return new Promise((resolve, reject) => this.take(request, options, resolve, reject));
  }

  // What it throws rejects the promise that it was made for.
  private take(
    request: PipelineRequest,
    options: RequestOptions,
    resolve: (result: PipelineResult) => void,
    reject: (error: RdmaError) => void,
  ): void {
    const signal = checkAbortSignal('signal', options.signal);
    const { timeoutMs } = options;
    if (timeoutMs !== undefined) checkInteger('timeoutMs', timeoutMs, 1, 2 ** 31 - 1);
    const views = options.views !== undefined && checkBoolean('views', options.views);
    const traced = options.trace === undefined ? this.isSampled() : checkBoolean('trace', options.trace);
    if (this.failure !== undefined) throw this.failure;
    if (signal?.aborted) throw new RdmaError('RDMA_ERR_ABORTED', 'the request was aborted', { cause: signal.reason });
    checkObject('request', request);
    const { maxQueued, port, graph } = this.options;
    // Behind others that wait, it would wait too.
    if (this.queue.length >= maxQueued && this.queue.length > 0) throw this.rejection();
    const { maxRequestBytes } = graph.spec;
    const outgoing = this.place.prepare(
      request.parts,
      request.meta === undefined ? NO_BYTES : encodeMeta(request.meta),
      NO_BYTES,
      maxRequestBytes,
      `maxRequestBytes of the workflow (${maxRequestBytes})`,
      undefined,
    );
    let stopTimer: (() => void) | undefined;
    let stopListening: (() => void) | undefined;
    const end = () => {
      ticket.over = true;
      stopTimer?.();
      stopListening?.();
    };
    const ticket: Ticket = {
      number: 0,
      attempt: 0,
      admitted: undefined,
      outgoing,
      deadlineUs: timeoutMs === undefined ? Number.POSITIVE_INFINITY : port.nowUs() + timeoutMs * 1000,
      views,
      traced,
      signal,
      over: false,
      resolve: (result) => {
        end();
        resolve(result);
      },
      reject: (error) => {
        end();
        reject(error);
      },
    };
    if (timeoutMs !== undefined) {
      const late = () => this.cancel(ticket, new RdmaError('RDMA_ERR_DEADLINE', `no result within ${timeoutMs} ms`));
      stopTimer = port.clock.after(timeoutMs, late);
    }
    if (signal !== undefined) {
      stopListening = onAbort(signal, () => {
        this.cancel(ticket, new RdmaError('RDMA_ERR_ABORTED', 'the request was aborted', { cause: signal.reason }));
      });
    }
    this.queue.push(ticket);
    this.admit();
    if (ticket.number === 0 && !ticket.over && this.queue.length > maxQueued) {
      this.queue.splice(this.queue.indexOf(ticket), 1);
      ticket.reject(this.rejection());
    }
  }

  private rejection(): RdmaError {
    const words = `${this.inFlight} requests are under way and ${this.queue.length} wait`;
    return new RdmaError('RDMA_ERR_REJECTED', words, { remedy: 'send later, or raise maxQueued' });
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
      while (this.queue.length > 0 && !this.isFull && this.failure === undefined) {
        const ticket = this.queue[0]!;
        // Of several that one signal aborts, the first makes room before the others have heard of it.
        if (ticket.over || ticket.signal?.aborted) {
          this.queue.shift();
          continue;
        }
        const admitted = this.admission.admit(this.place.nowUs());
        if (admitted === undefined) return;
        this.queue.shift();
        if (!this.dispatch(ticket, admitted)) return;
      }
    } finally {
      this.admitting = false;
    }
  }

  // False when there is no memory for it now: it waits, and is tried again when something has ended.
  private dispatch(ticket: Ticket, admitted: AdmittedRequest): boolean {
    const { self, incarnation } = this.options;
    const isAgain = ticket.number > 0;
    if (isAgain) this.again--;
    else ticket.number = ++this.lastNumber;
    ticket.attempt++;
    ticket.admitted = admitted;
    this.tickets.set(ticket.number, ticket);
    const { outgoing } = ticket;
    const envelope: Envelope = {
      flags: (ticket.traced ? Flag.TRACED : 0) | (this.options.onTask === undefined ? 0 : Flag.WATCHED),
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
    this.admission.ended(admitted);
    ticket.admitted = undefined;
    ticket.attempt--;
    // A number that places have seen stays in its order: without it they would take the request for one that has ended.
    if (isAgain) this.again++;
    else {
      this.tickets.delete(ticket.number);
      ticket.number = 0;
      this.lastNumber--;
    }
    this.queue.unshift(ticket);
    return false;
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
    if (this.queue.length > 0) this.admit();
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
    const at = ticket.admitted === undefined ? this.queue.indexOf(ticket) : -1;
    if (at >= 0) this.queue.splice(at, 1);
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
      this.admission.ended(ticket.admitted);
      ticket.admitted = undefined;
      this.wakeDrained();
    }
  }

  private wakeDrained(): void {
    if (this.drained.length === 0) return;
    for (const wake of this.drained.splice(0)) wake();
  }

  // ---- What the place says

  /** @internal */
  onComplete(joined: Joined): void {
    const ticket = this.ticketOf(joined);
    joined.state = 'sent';
    if (ticket === undefined) {
      this.place.join.settle(joined); // a second result of a request that has ended
      return;
    }
    const { admitted } = ticket;
    const nowUs = this.place.nowUs();
    for (const input of joined.inputs as Input[]) {
      const { fromStage: stage, fromInstance: instance, queueUs, computeUs } = input.envelope;
      if (admitted !== undefined) this.admission.done(admitted, { stage, instance }, queueUs, computeUs, nowUs);
      this.tell('done', ticket.number, stage, instance, { queueUs, computeUs });
    }
    this.end(ticket);
    try {
      this.answer(ticket, joined);
    } catch (error) {
      // No memory for the copy, or metadata that is not JSON.
      this.place.join.settle(joined);
      const words = `the result cannot be read: ${String(error)}`;
      ticket.reject(new RdmaError('RDMA_ERR_STAGE_FAILED', words, { cause: error }));
    }
    if (this.queue.length > 0) this.admit();
  }

  private ticketOf(joined: Joined): Ticket | undefined {
    if (joined.ledger.gatewayRun !== this.options.incarnation) return undefined;
    const ticket = this.tickets.get(joined.ticket);
    if (ticket === undefined || ticket.over) return undefined;
    return ticket.attempt === joined.attempt ? ticket : undefined;
  }

  private answer(ticket: Ticket, joined: Joined): void {
    const { graph, self } = this.options;
    const outputs: PipelineOutput[] = [];
    for (const { stage, instance, meta, parts } of joined.inputs as Input[]) {
      outputs.push({ stage, instance, meta, parts: ticket.views ? { ...parts } : copyParts(parts) });
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
    ticket.resolve({ request, outputs, trace, release });
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
    } else throw new RdmaError('RDMA_ERR_PROTOCOL', `a note of the unknown kind ${kind}`);
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
    if (what === Report.STARTED) this.tell('task', number, from.stage, from.instance, {});
    else if (what === Report.PROGRESS) this.tell('progress', number, from.stage, from.instance, { done: progress });
    else {
      const { admitted } = ticket;
      if (admitted !== undefined) this.admission.done(admitted, from, queueUs, computeUs, this.place.nowUs());
      this.tell('done', number, from.stage, from.instance, { queueUs, computeUs });
      if (this.queue.length > 0) this.admit();
    }
  }

  private onFailure(from: PlaceId, number: number, attempt: number, failure: StageFailure): void {
    const ticket = this.tickets.get(number);
    if (ticket === undefined || ticket.over || ticket.attempt !== attempt) return;
    const name = this.options.graph.spec.stages[from.stage]?.name ?? 'unknown';
    this.tell('failed', number, from.stage, from.instance, {});
    const code = failure.code === 'RDMA_ERR_DEADLINE' ? 'RDMA_ERR_DEADLINE' : 'RDMA_ERR_STAGE_FAILED';
    this.cancel(ticket, new RdmaError(code, `stage ${name} failed: ${failure.message}`));
  }

  private tell(
    type: TaskEvent['type'],
    number: number,
    stage: number,
    instance: number,
    more: Partial<TaskEvent>,
  ): void {
    const { onTask, self, incarnation, graph } = this.options;
    if (onTask === undefined || stage < 0) return;
    const request = requestName(self.instance, incarnation, number);
    onTask({ type, request, stage: graph.spec.stages[stage]!.name, instance, ...more });
  }

  /** @internal */
  onIncomplete(joined: Joined): void {
    if (this.ticketOf(joined) === undefined) this.place.join.end(joined);
  }

  /** @internal */
  onUnreadable(joined: Joined, reason: RdmaError): void {
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
    const instances = this.admission.status();
    return { ...this.place.status(), queued: this.queue.length, inFlight: this.inFlight, instances };
  }

  /** Ends every request with `reason`, and every later one. */
  fail(reason: RdmaError): void {
    if (this.failure !== undefined) return;
    this.failure = reason;
    this.rejectAll(reason);
    this.options.onFailed(reason);
  }

  private rejectAll(reason: RdmaError): void {
    const tickets = [...this.tickets.list(), ...this.queue];
    this.tickets.clear();
    this.again = 0;
    this.queue = [];
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
function residentLimit({ graph, plan }: GatewayOptions, { residentRequests, poolBytes }: PlaceSizes): number {
  const { stages, maxRequestBytes } = graph.spec;
  const largest = stages.reduce((most, stage) => Math.max(most, stage.maxOutputBytes), maxRequestBytes);
  const most = Math.min(residentRequests, Math.floor(poolBytes / largest));
  return Math.max(1, Math.floor(most / plan.gateways.length));
}

function copyParts(parts: Parts): Record<string, Tensor> {
  const own: Record<string, Tensor> = Object.create(null);
  for (const name of Object.keys(parts)) own[name] = copyTensor(parts[name]!);
  return own;
}
