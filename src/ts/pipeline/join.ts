// The join of the messages that belong to one request at one place: the inputs of a task, or the outputs of the last
// stages.
//
// Invariant: a task has one input from each of its senders, all of them from the same runs of the stages before
// (lineage.ts) and of the same admission (attempt). An input that is out of date, or a duplicate, is acknowledged and
// otherwise ignored. A newer input replaces the older one, even if the task is already done. A request that was
// settled, or has ended at its gateway, does not run again. A stream is one input in many messages, all of one run of
// its sender (stream-input.ts).
import { RdmaError } from '../core/errors.js';
import type { Envelope } from './envelope.js';
import type { Input } from './input.js';
import { NO_STREAM, refused } from './envelope.js';
import { mergeRuns, sameRuns } from './lineage.js';
import { GATEWAY_INDEX, type PlaceId, type Plan } from './plan.js';
import { StreamIn } from './stream-input.js';
import { Take } from './stream-limits.js';
import { requestName } from './request-name.js';
import { TicketMap } from './ticket-map.js';

/** Requests that are remembered as settled, for each run of a gateway; older ones are recognised at the gateway. */
const MAX_SETTLED = 8192;
/** So many of them are forgotten at once. */
const FORGOTTEN = 1024;
/** Requests that are barred, the newest. */
const MAX_BARRED = 4096;

/** How far a task is. */
export type JoinedState = 'incomplete' | 'ready' | 'running' | 'sent' | 'over';

/** All that has come for one request. */
export class JoinedInputs {
  readonly ledger: Ledger;
  readonly ticket: number;
  readonly attempt: number;
  readonly route: Uint16Array;
  readonly flags: number;
  readonly plan: Plan;
  readonly senders: readonly PlaceId[];
  /**
   * By the position of the sender in {@link JoinedInputs.senders}; of a sender with a stream, the output that closes
   * it.
   */
  readonly inputs: (Input | undefined)[];
  /** Likewise, the streams; undefined for a sender without, and when no sender has one. */
  readonly streams: (StreamIn | undefined)[] | undefined;
  state: JoinedState = 'incomplete';
  /** When the last input came, by the clock of the port in microseconds. */
  readyAtUs = 0;
  /** When the first input came. */
  readonly openedAtUs: number;
  /** Of all inputs together, once they are complete. */
  runs: Uint32Array | undefined;
  /** Number of the task among those of this process, from its first message on; 0: it has sent none. */
  task = 0;
  /** Called when the task is not wanted any more while its handler runs. */
  onCancel: ((reason: RdmaError) => void) | undefined;
  /** Called when more of a stream can be read. */
  onPieces: (() => void) | undefined;
  private readonly takes: Uint8Array | undefined;

  /** @param takes how this place takes what each stage sends, see takesOf() */
  constructor(
    ledger: Ledger,
    first: Input,
    plan: Plan,
    senders: readonly PlaceId[],
    nowUs: number,
    takes: Uint8Array | undefined,
  ) {
    this.ledger = ledger;
    this.ticket = first.envelope.ticket;
    this.attempt = first.envelope.attempt;
    this.route = first.envelope.route;
    this.flags = first.envelope.flags;
    this.plan = plan;
    this.senders = senders;
    this.inputs = [];
    for (let i = 0; i < senders.length; i++) this.inputs.push(undefined);
    this.openedAtUs = nowUs;
    this.takes = takes;
    this.streams =
      takes === undefined
        ? undefined
        : senders.map(({ stage }) => (takeOf(takes, stage) === Take.WHOLE ? undefined : new StreamIn()));
  }

  /**
   * True when a task may begin: every input is there, readable, and of the same runs; of a stream that is read as it
   * comes, the first piece.
   */
  completes(): boolean {
    const descents: Envelope[] = [];
    for (let i = 0; i < this.inputs.length; i++) {
      const stream = this.streams?.[i];
      const input = stream === undefined ? this.inputs[i] : stream.any;
      if (input === undefined || !(stream === undefined ? input.isLoaded : this.mayBegin(i, stream))) return false;
      descents.push(input.envelope);
    }
    const runs = new Uint32Array(descents[0]!.runs.length);
    if (!mergeRuns(descents, runs)) return false;
    this.runs = runs;
    return true;
  }

  private mayBegin(at: number, stream: StreamIn): boolean {
    return takeOf(this.takes, this.senders[at]!.stage) === Take.STREAMED ? stream.hasBegun : stream.isClosed;
  }

  /** True when nothing more comes of its streams. */
  get isClosed(): boolean {
    for (const stream of this.streams ?? NO_STREAMS) if (stream?.isClosed === false) return false;
    return true;
  }

  /** A message from the sender at this position; undefined: none has come. */
  known(at: number): Input | undefined {
    return this.inputs[at] ?? this.streams?.[at]?.any;
  }

  /** The message from there that `input` is a copy of, when both are of one run; undefined: it is new. */
  copyOf(at: number, input: Input): Input | undefined {
    const stream = this.streams?.[at];
    return stream === undefined ? this.inputs[at] : stream.copyOf(input);
  }

  /** A message from the sender at this position; held until {@link JoinedInputs.letGo}. */
  set(at: number, input: Input): void {
    this.streams?.[at]?.add(input);
    if (input.envelope.piece === NO_STREAM) this.inputs[at] = input;
    input.hold();
  }

  /** All that another task has from the sender at this position. */
  share(at: number, other: JoinedInputs): void {
    const stream = other.streams?.[at];
    if (stream === undefined) this.set(at, other.inputs[at]!);
    else for (const input of stream.all()) this.set(at, input);
  }

  /** The inputs are not needed here any more. */
  letGo(): void {
    for (let i = 0; i < this.inputs.length; i++) this.letGoOf(i);
  }

  /** Likewise, those from the sender at this position. */
  letGoOf(at: number): void {
    const stream = this.streams?.[at];
    if (stream === undefined) this.inputs[at]?.letGo();
    else {
      this.streams![at] = new StreamIn();
      for (const input of stream.all()) input.letGo();
    }
    this.inputs[at] = undefined;
  }

  /** The inputs from a stage, in the order of its instances; undefined for one whose stream is not closed. */
  from(stage: string): (Input | undefined)[] {
    return this.inputs.filter((_, at) => this.known(at)?.stage === stage);
  }

  /** Positions of the senders of a stage whose streams are read, in the order of its instances. */
  streamsFrom(stage: string): number[] {
    const found: number[] = [];
    for (let at = 0; at < this.inputs.length; at++) {
      if (this.streams?.[at] !== undefined && this.known(at)?.stage === stage) found.push(at);
    }
    return found;
  }
}

const NO_STREAMS: readonly StreamIn[] = [];

function takeOf(takes: Uint8Array | undefined, stage: number): number {
  return takes === undefined || stage === GATEWAY_INDEX ? Take.WHOLE : takes[stage]!;
}

const NO_TASKS: readonly JoinedInputs[] = [];

/** The requests of one run of one gateway at this place. */
export class Ledger {
  readonly gateway: number;
  readonly gatewayRun: number;
  readonly open = new TicketMap<JoinedInputs>();
  private readonly settled = new TicketMap<number>(); // to attempt
  private below = 0;

  constructor(gateway: number, gatewayRun: number) {
    this.gateway = gateway;
    this.gatewayRun = gatewayRun;
  }

  /** True when nothing of this attempt is worked on any more. */
  isOver(ticket: number, attempt: number): boolean {
    return ticket < this.below || (this.settled.get(ticket) ?? 0) >= attempt;
  }

  remember(ticket: number, attempt: number): void {
    if (this.isOver(ticket, attempt)) return;
    this.settled.set(ticket, attempt);
    if (this.settled.size <= MAX_SETTLED) return;
    const tickets = this.settled.below(Number.POSITIVE_INFINITY);
    for (let i = 0; i < FORGOTTEN; i++) this.settled.delete(tickets[i]!);
  }

  /** Every request with a smaller ticket has ended, as far as is known here. */
  get finishedBelow(): number {
    return this.below;
  }

  /** Every request with a smaller ticket has ended; answers those that were open here. */
  finish(below: number): readonly JoinedInputs[] {
    if (below <= this.below) return NO_TASKS;
    this.forget(this.below, below);
    this.below = below;
    const tickets = this.open.below(below);
    return tickets.length === 0 ? NO_TASKS : tickets.map((ticket) => this.open.get(ticket)!);
  }

  // Mostly one request has ended since the last message.
  private forget(from: number, below: number): void {
    const { settled } = this;
    if (settled.size === 0) return;
    if (below - from > settled.size) for (const ticket of settled.below(below)) settled.delete(ticket);
    else for (let ticket = from; ticket < below; ticket++) settled.delete(ticket);
  }
}

function positionOf(senders: readonly PlaceId[], { fromStage, fromInstance }: Envelope): number {
  for (let i = 0; i < senders.length; i++) {
    if (senders[i]!.stage === fromStage && senders[i]!.instance === fromInstance) return i;
  }
  return -1;
}

/** What Join asks of its place. */
export interface JoinHost {
  /** The senders of a request here; [] when it does not pass this place. */
  sendersOf(input: Input): { plan: Plan; senders: readonly PlaceId[] };
  nowUs(): number;
  /** How this place takes what each stage sends, see takesOf(); undefined: all of it whole. */
  readonly takes?: Uint8Array | undefined;
  /** Defects that a test plants, to see that the simulation finds them. */
  readonly flaw?: string | undefined;
}

/** The requests that one place is collecting for. */
export class Join {
  private readonly host: JoinHost;
  private readonly ledgers = new Map<number, Ledger>(); // the newest run of each gateway
  private readonly older = new Set<Ledger>(); // of gateways that have been replaced, until they are empty
  // Requests that must not run here, also of gateways whose books are closed: to attempt.
  private readonly barred = new Map<string, number>();

  constructor(host: JoinHost) {
    this.host = host;
  }

  /** Requests that are here and not settled. */
  get openCount(): number {
    let count = 0;
    for (const ledger of this.ledgers.values()) count += ledger.open.size;
    for (const ledger of this.older) count += ledger.open.size;
    return count;
  }

  /** Every request that is here. */
  all(): JoinedInputs[] {
    const all: JoinedInputs[] = [];
    for (const ledger of [...this.ledgers.values(), ...this.older]) all.push(...ledger.open.list());
    return all;
  }

  /** The ledger of a run of a gateway; made when it is new. */
  ledgerOf(gateway: number, gatewayRun: number): Ledger {
    const newest = this.ledgers.get(gateway);
    if (newest?.gatewayRun === gatewayRun) return newest;
    for (const old of this.older) if (old.gateway === gateway && old.gatewayRun === gatewayRun) return old;
    const ledger = new Ledger(gateway, gatewayRun);
    // A late message of a gateway that was replaced: what it opens is found among the older ones.
    if (newest !== undefined && newest.gatewayRun > gatewayRun) return ledger;
    if (newest !== undefined && newest.open.size > 0) this.older.add(newest);
    this.ledgers.set(gateway, ledger);
    return ledger;
  }

  /**
   * Takes an input.
   *
   * @returns the task that it belongs to; undefined when it takes part in nothing and was acknowledged
   * @throws RdmaError RDMA_ERR_PROTOCOL when its sender does not send here; it is not acknowledged then
   */
  accept(input: Input): JoinedInputs | undefined {
    const { envelope } = input;
    const ledger = this.ledgerOf(envelope.gateway, envelope.gatewayRun);
    const over = ledger.finish(envelope.finishedBelow);
    for (let i = 0; i < over.length; i++) this.end(over[i]!);
    if (ledger.isOver(envelope.ticket, envelope.attempt)) return void input.acknowledge();
    if (this.barred.size > 0) {
      const { gateway, gatewayRun, ticket, attempt } = envelope;
      if ((this.barred.get(requestName(gateway, gatewayRun, ticket)) ?? 0) >= attempt) return void input.acknowledge();
    }
    let joined = ledger.open.get(envelope.ticket);
    if (joined !== undefined && joined.attempt !== envelope.attempt && this.host.flaw !== 'mixed-attempts') {
      if (envelope.attempt < joined.attempt) return void input.acknowledge();
      this.end(joined);
      joined = undefined;
    }
    const { plan, senders } = joined ?? this.host.sendersOf(input);
    const at = positionOf(senders, envelope);
    if (at < 0) throw new RdmaError('RDMA_ERR_PROTOCOL', `${input.sender} does not send to this place`);
    const { takes } = this.host;
    const comesWhole = takeOf(takes, envelope.fromStage) === Take.WHOLE;
    if (comesWhole !== (envelope.piece === NO_STREAM && envelope.pieces === NO_STREAM)) {
      throw refused(`${input.sender} ${comesWhole ? 'has no stream' : 'sends by a stream'}`);
    }
    if (joined === undefined) {
      joined = new JoinedInputs(ledger, input, plan, senders, this.host.nowUs(), takes);
      ledger.open.set(joined.ticket, joined);
      if (this.ledgers.get(ledger.gateway) !== ledger) this.older.add(ledger);
    }
    return this.place(joined, at, input);
  }

  private place(joined: JoinedInputs, at: number, input: Input): JoinedInputs | undefined {
    const known = joined.known(at);
    const { flaw } = this.host;
    if (known === undefined) {
      joined.set(at, input);
      return joined;
    }
    const { envelope } = input;
    const isPiece = envelope.piece !== NO_STREAM;
    if (envelope.incarnation < known.envelope.incarnation) return void input.acknowledge();
    const isSame = envelope.incarnation === known.envelope.incarnation && sameRuns(envelope.runs, known.envelope.runs);
    if (isSame || (flaw === 'mixed-pieces' && joined.streams?.[at] !== undefined)) {
      const copy = joined.copyOf(at, input);
      // The sender sent it again so that the older message can be forgotten.
      if (copy !== undefined) return void copy.exchange(input);
      if (flaw === 'lost-piece' && isPiece && joined.state === 'running') return void input.acknowledge();
      joined.set(at, input);
      if (flaw === 'early-piece' && isPiece) input.acknowledge();
      return joined;
    }
    // A process may send an older output once more behind a newer one, when the older is not acknowledged yet.
    const isOlder =
      envelope.incarnation === known.envelope.incarnation && ((envelope.task - known.envelope.task) | 0) < 0;
    if (isOlder || flaw === 'mixed-runs') return void input.acknowledge();
    // It was made again, perhaps with another outcome: what was made of the older one counts no more.
    if (joined.state === 'incomplete' || flaw === 'no-start-over') {
      joined.letGoOf(at);
      joined.set(at, input);
      return joined;
    }
    const next = new JoinedInputs(
      joined.ledger,
      input,
      joined.plan,
      joined.senders,
      joined.openedAtUs,
      this.host.takes,
    );
    for (let i = 0; i < joined.inputs.length; i++) if (i !== at) next.share(i, joined);
    next.set(at, input);
    joined.ledger.open.set(next.ticket, next);
    this.drop(joined, 'an input was made again');
    return next;
  }

  // Nobody wants the outcome any more. What its handler or its receivers still read is let go when they have ended.
  private drop(joined: JoinedInputs, why: string): void {
    const { state } = joined;
    if (state === 'sent' || state === 'over') return;
    joined.state = 'over';
    if (state === 'running') joined.onCancel?.(new RdmaError('RDMA_ERR_ABORTED', why));
    else this.settle(joined);
  }

  /** The request has ended, or begins again as another attempt: its task stops. */
  end(joined: JoinedInputs): void {
    const { ledger, ticket, attempt } = joined;
    this.drop(joined, 'the request has ended');
    if (joined.state !== 'sent' && ledger.open.get(ticket) === joined) ledger.open.delete(ticket);
    ledger.remember(ticket, attempt);
  }

  /** The gateway says that a request has ended. */
  endRequest(ledger: Ledger, ticket: number, attempt: number): void {
    const joined = ledger.open.get(ticket);
    if (joined !== undefined && joined.attempt <= attempt) this.end(joined);
    ledger.remember(ticket, attempt);
  }

  /**
   * As {@link Join.endRequest}; it is remembered too when the books of its gateway's run are closed, as of one that has
   * died.
   */
  bar(gateway: number, gatewayRun: number, ticket: number, attempt: number): void {
    this.endRequest(this.ledgerOf(gateway, gatewayRun), ticket, attempt);
    this.barred.set(requestName(gateway, gatewayRun, ticket), attempt);
    if (this.barred.size > MAX_BARRED) this.barred.delete(this.barred.keys().next().value!);
  }

  /** Nobody reads its inputs any more, and what was made of them is acknowledged: so are they. */
  settle(joined: JoinedInputs): void {
    const { ledger, ticket } = joined;
    joined.state = 'over';
    joined.letGo();
    // Not one that was made again: the newer one goes on.
    if (ledger.open.get(ticket) === joined) {
      ledger.open.delete(ticket);
      ledger.remember(ticket, joined.attempt);
    }
    if (ledger.open.size === 0) this.older.delete(ledger);
  }
}
