// What arrives at a place: messages are read, notes are followed, inputs join their tasks and are loaded.
//
// Invariant: a message that this place cannot take is never acknowledged: the place fails with the reason. A lane is
// never held, whatever waits for whom. Whatever stays incomplete is asked for each second.
import { RdmaError } from '../core/errors.js';
import type { InboxMessage, Poller } from '../ring/index.js';
import { asRdmaError } from './as-rdma-error.js';
import { type Envelope, Kind, kindOf, readEnvelope } from './envelope.js';
import { Input, lost, senderName } from './input.js';
import type { Join, JoinedInputs, Ledger } from './join.js';
import type { HopLatencies } from './latency.js';
import { readEnded, readNoteHead } from './notes.js';
import { Patience } from './patience.js';
import type { PlaceOptions, PlaceOwner } from './place-options.js';
import type { PlacePlans } from './place-plans.js';
import { GATEWAY_INDEX } from './plan.js';
import type { PipelinePort } from './port.js';
import { Slab } from './slab.js';
import type { WorkflowSpec } from './spec.js';
import { viewOf } from './view.js';

/** How long inputs may be incomplete before their gateway is asked whether the request goes on. */
const INCOMPLETE_MS = 1000;
/** Messages of a plan that is not known here yet, which wait for it. */
const MAX_EARLY = 4096;
/** How long to poll for a message that was announced, in microseconds: what making it may take. */
export const LINGER_US = 500;

/** The parts of a place that arrivals go to. */
export interface ReceivingPlace {
  readonly name: string;
  readonly options: PlaceOptions;
  readonly join: Join;
  readonly plans: PlacePlans;
  readonly poller: Poller;
  readonly hops: HopLatencies;
  /** The place cannot go on. */
  fail(reason: RdmaError): void;
}

export class Reception {
  private readonly place: ReceivingPlace;
  private readonly owner: PlaceOwner;
  private readonly port: PipelinePort;
  private readonly spec: WorkflowSpec;
  private readonly join: Join;
  private early: { message: InboxMessage; bytes: Uint8Array }[] = [];
  private readonly slab = new Slab();
  private stopAsking: (() => void) | undefined;
  private isEnding = false;

  constructor(place: ReceivingPlace, owner: PlaceOwner) {
    this.place = place;
    this.owner = owner;
    this.port = place.options.port;
    this.spec = place.options.graph.spec;
    this.join = place.join;
  }

  /** Messages of plans that are not known here yet. */
  get earlyCount(): number {
    return this.early.length;
  }

  /** There is one more plan: takes the messages that have waited for it. */
  takeEarly(): void {
    const { early } = this;
    this.early = [];
    for (const { message, bytes } of early) this.take(message, bytes);
  }

  /** Takes a message out of its lane. */
  onMessage(message: InboxMessage): void {
    // A copy, which is short: a lane is never held, whatever waits for whom.
    const bytes = this.slab.copy(message.bytes);
    message.release();
    this.take(message, bytes);
  }

  private take(message: InboxMessage, bytes: Uint8Array): void {
    try {
      const view = viewOf(bytes);
      const kind = kindOf(bytes, view);
      if (kind === Kind.INPUT) this.takeInput(message, bytes, view);
      else this.takeNote(kind, message, bytes, view);
    } catch (error) {
      this.place.fail(asRdmaError(error, `a message from ${message.from} was refused`));
    }
  }

  private takeNote(kind: number, message: InboxMessage, bytes: Uint8Array, view: DataView): void {
    if (kind === Kind.COMING) this.place.poller.linger(LINGER_US);
    else if (kind === Kind.ENDED) {
      const head = readNoteHead(bytes, view, this.spec.stages.length);
      const ledger = this.join.ledgerOf(head.instance, head.gatewayRun);
      for (const { ticket, attempt } of readEnded(bytes, view)) this.join.endRequest(ledger, ticket, attempt);
    } else {
      this.checkRun(readNoteHead(bytes, view, this.spec.stages.length).gatewayRun);
      this.owner.onNote(kind, bytes, view);
    }
    message.acknowledge();
  }

  // What a later run of this gateway waits for must not be acknowledged here: its sender has not noticed yet that
  // another process has the place.
  private checkRun(gatewayRun: number): void {
    const { self, incarnation } = this.place.options;
    if (self.stage !== GATEWAY_INDEX || gatewayRun <= incarnation) return;
    throw new RdmaError('RDMA_ERR_FENCED', `another process has taken the place ${this.place.name}`);
  }

  private takeInput(message: InboxMessage, bytes: Uint8Array, view: DataView): void {
    const { spec, port } = this;
    const envelope = readEnvelope(bytes, view, spec.stages.length);
    this.checkRun(envelope.gatewayRun);
    if (!this.place.plans.has(envelope.plan)) {
      this.takeOfOtherPlan(message, bytes, envelope);
      return;
    }
    const input = new Input(spec, envelope, message, port.nowUs(), envelope.host === port.host);
    const joined = this.join.accept(input);
    if (joined !== undefined) this.load(joined.ledger, input, bytes, view);
  }

  private load(ledger: Ledger, input: Input, bytes: Uint8Array, view: DataView): void {
    let loading: Promise<void> | undefined;
    try {
      loading = input.load(bytes, view);
    } catch (error) {
      this.retryLoad(ledger, input, bytes, view, error);
      return;
    }
    if (loading === undefined) this.advance(ledger.open.get(input.envelope.ticket));
    else this.advanceLater(loading, ledger, input, bytes, view);
  }

  private advanceLater(loading: Promise<void>, ledger: Ledger, input: Input, bytes: Uint8Array, view: DataView): void {
    input.patience ??= this.patienceWith(input);
    loading.then(
      () => this.advance(ledger.open.get(input.envelope.ticket)),
      (error) => this.retryLoad(ledger, input, bytes, view, error),
    );
  }

  // A gateway that is replaced does not send its requests again.
  private patienceWith(input: Input): Patience {
    const { resolve } = this.place.options;
    const isAgain = input.envelope.fromStage !== GATEWAY_INDEX;
    return new Patience(isAgain ? () => resolve(input.sender) : undefined, input.arrivedUs);
  }

  // Its sender may have lost its lane just now: it comes back, or another process in its place makes the input again.
  private retryLoad(ledger: Ledger, input: Input, bytes: Uint8Array, view: DataView, error: unknown): void {
    if (this.isEnding || !input.isHeld) return;
    input.patience ??= this.patienceWith(input);
    const isGone = (error as RdmaError).code === 'RDMA_ERR_PEER_GONE';
    const retryMs = isGone ? input.patience.next(this.port.nowUs()) : undefined;
    if (retryMs !== undefined) {
      this.port.clock.after(retryMs, () => {
        if (!this.isEnding && input.isHeld) this.load(ledger, input, bytes, view);
      });
      return;
    }
    const joined = ledger.open.get(input.envelope.ticket);
    // Of a stream also when its task has begun.
    const isWanted = joined?.state === 'incomplete' || (joined?.streams !== undefined && joined.state !== 'sent');
    if (joined !== undefined && isWanted) this.owner.onUnreadable(joined, lost(input, error));
  }

  private takeOfOtherPlan(message: InboxMessage, bytes: Uint8Array, envelope: Envelope): void {
    if (envelope.plan < this.place.plans.newest.number) {
      // That plan was retired, as all its requests had ended: this is a late copy.
      message.acknowledge();
      return;
    }
    if (this.early.length >= MAX_EARLY) {
      const sender = senderName(this.spec, envelope);
      throw new RdmaError('RDMA_ERR_PROTOCOL', `${sender} sends under plan ${envelope.plan}, which does not come`);
    }
    this.early.push({ message, bytes });
  }

  private advance(joined: JoinedInputs | undefined): void {
    if (joined === undefined) return;
    if (joined.streams !== undefined) this.owner.onPieces(joined);
    if (joined.state !== 'incomplete') {
      if (waitsForMore(joined)) this.askLater();
      return;
    }
    if (joined.completes()) {
      joined.state = 'ready';
      joined.readyAtUs = this.port.nowUs();
      for (const input of joined.inputs)
        if (input !== undefined) this.place.hops.add(input.envelope.fromStage, input.hopUs);
      this.owner.onComplete(joined);
      if (waitsForMore(joined)) this.askLater();
    } else this.askLater();
  }

  // One timer for all that is incomplete; none when nothing is.
  private askLater(): void {
    if (this.stopAsking !== undefined || this.isEnding || this.place.options.flaw === 'no-asking') return;
    this.stopAsking = this.port.clock.after(INCOMPLETE_MS, () => {
      this.stopAsking = undefined;
      const before = this.port.nowUs() - INCOMPLETE_MS * 1000;
      let any = false;
      for (const joined of this.join.all()) {
        if (!waitsForMore(joined)) continue;
        any = true;
        if (joined.openedAtUs <= before) this.owner.onIncomplete(joined);
      }
      if (any) this.askLater();
    });
  }

  /** Nothing is taken or asked for any more. */
  close(): void {
    this.isEnding = true;
    this.stopAsking?.();
    this.early = [];
  }
}

// What it waits for may never come: its request may have ended.
function waitsForMore(joined: JoinedInputs): boolean {
  const { state, streams } = joined;
  if (state === 'incomplete') return true;
  return streams !== undefined && (state === 'ready' || state === 'running') && !joined.isClosed;
}
