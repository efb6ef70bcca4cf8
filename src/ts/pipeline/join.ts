// Bringing together what belongs to one request at one place: the inputs of a task, or the outputs of the last stages.
//
// Invariant: a task has one input from each of its senders, all of them from the same runs of the stages before
// (lineage.ts) and of the same admission (attempt). An input that is out of date, or came twice, is acknowledged and
// takes part in nothing; one that is newer takes the place of the older one, also when the task was done already. What
// was settled, or has ended at its gateway, is not worked on again.
import { RdmaError } from '../core/errors.js';
import type { Envelope } from './envelope.js';
import type { Input } from './input.js';
import { mergeRuns, sameRuns } from './lineage.js';
import type { PlaceId, Plan } from './plan.js';
import { TicketMap } from './ticket-map.js';

/** Requests that are remembered as settled, for each run of a gateway; older ones are recognised at the gateway. */
const MAX_SETTLED = 8192;
/** So many of them are forgotten at once. */
const FORGOTTEN = 1024;

/** How far a task is. */
export type JoinedState = 'incomplete' | 'ready' | 'running' | 'sent' | 'over';

/** All that has come for one request. */
export class Joined {
  readonly ledger: Ledger;
  readonly ticket: number;
  readonly attempt: number;
  readonly route: Uint16Array;
  readonly flags: number;
  readonly plan: Plan;
  readonly senders: readonly PlaceId[];
  /** By the position of the sender in {@link Joined.senders}. */
  readonly inputs: (Input | undefined)[];
  state: JoinedState = 'incomplete';
  /** When the last input came, by the clock of the port in microseconds. */
  readyAtUs = 0;
  /** When the first input came. */
  readonly openedAtUs: number;
  /** Of all inputs together, once they are complete. */
  runs: Uint32Array | undefined;
  /** Called when the task is not wanted any more while its handler runs. */
  onCancel: ((reason: RdmaError) => void) | undefined;

  constructor(ledger: Ledger, first: Input, plan: Plan, senders: readonly PlaceId[], nowUs: number) {
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
  }

  /** True when every input is there, readable, and of the same runs. */
  completes(): boolean {
    const inputs = this.inputs as Input[];
    const descents: Envelope[] = [];
    for (let i = 0; i < inputs.length; i++) {
      const input = inputs[i];
      if (input === undefined || !input.isLoaded) return false;
      descents.push(input.envelope);
    }
    const runs = new Uint32Array(descents[0]!.runs.length);
    if (!mergeRuns(descents, runs)) return false;
    this.runs = runs;
    return true;
  }

  /** The input from the sender at this position; held until {@link Joined.letGo}. */
  set(at: number, input: Input): void {
    this.inputs[at] = input;
    input.hold();
  }

  /** The inputs are not needed here any more. */
  letGo(): void {
    for (let i = 0; i < this.inputs.length; i++) {
      this.inputs[i]?.letGo();
      this.inputs[i] = undefined;
    }
  }

  /** The inputs from a stage, in the order of its instances. */
  from(stage: string): Input[] {
    return (this.inputs as (Input | undefined)[]).filter((input): input is Input => input?.stage === stage);
  }
}

const NO_TASKS: readonly Joined[] = [];

/** The requests of one run of one gateway at this place. */
export class Ledger {
  readonly gateway: number;
  readonly gatewayRun: number;
  readonly open = new TicketMap<Joined>();
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
  finish(below: number): readonly Joined[] {
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
  /** Defects that a test plants, to see that the simulation finds them. */
  readonly flaw?: string | undefined;
}

/** The requests that one place is collecting for. */
export class Join {
  private readonly host: JoinHost;
  private readonly ledgers = new Map<number, Ledger>(); // the newest run of each gateway
  private readonly older = new Set<Ledger>(); // of gateways that have been replaced, until they are empty

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
  all(): Joined[] {
    const all: Joined[] = [];
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
  accept(input: Input): Joined | undefined {
    const { envelope } = input;
    const ledger = this.ledgerOf(envelope.gateway, envelope.gatewayRun);
    const over = ledger.finish(envelope.finishedBelow);
    for (let i = 0; i < over.length; i++) this.end(over[i]!);
    if (ledger.isOver(envelope.ticket, envelope.attempt)) return void input.acknowledge();
    let joined = ledger.open.get(envelope.ticket);
    if (joined !== undefined && joined.attempt !== envelope.attempt && this.host.flaw !== 'mixed-attempts') {
      if (envelope.attempt < joined.attempt) return void input.acknowledge();
      this.end(joined);
      joined = undefined;
    }
    const { plan, senders } = joined ?? this.host.sendersOf(input);
    const at = positionOf(senders, envelope);
    if (at < 0) throw new RdmaError('RDMA_ERR_PROTOCOL', `${input.sender} does not send to this place`);
    if (joined === undefined) {
      joined = new Joined(ledger, input, plan, senders, this.host.nowUs());
      ledger.open.set(joined.ticket, joined);
      if (this.ledgers.get(ledger.gateway) !== ledger) this.older.add(ledger);
    }
    return this.place(joined, at, input);
  }

  private place(joined: Joined, at: number, input: Input): Joined | undefined {
    const known = joined.inputs[at];
    if (known === undefined) {
      joined.set(at, input);
      return joined;
    }
    const { envelope } = input;
    if (envelope.incarnation < known.envelope.incarnation) return void input.acknowledge();
    const isSame = envelope.incarnation === known.envelope.incarnation && sameRuns(envelope.runs, known.envelope.runs);
    if (isSame) {
      // The sender sent it again so that the older message can be forgotten.
      known.exchange(input);
      return undefined;
    }
    // A process may send an older output once more behind a newer one, when the older is not acknowledged yet; both times are
    // by the clock of that process.
    const isOlder = envelope.incarnation === known.envelope.incarnation && envelope.sentAtUs < known.envelope.sentAtUs;
    if (isOlder || this.host.flaw === 'mixed-runs') return void input.acknowledge();
    // It was made again, perhaps with another outcome: what was made of the older one counts no more.
    if (joined.state === 'incomplete') {
      known.letGo();
      joined.set(at, input);
      return joined;
    }
    const next = new Joined(joined.ledger, input, joined.plan, joined.senders, joined.openedAtUs);
    for (let i = 0; i < joined.inputs.length; i++) if (i !== at) next.set(i, joined.inputs[i]!);
    next.set(at, input);
    joined.ledger.open.set(next.ticket, next);
    this.drop(joined, 'an input was made again');
    return next;
  }

  // Nobody wants the outcome any more. What its handler or its receivers still read is let go when they have ended.
  private drop(joined: Joined, why: string): void {
    const { state } = joined;
    if (state === 'sent' || state === 'over') return;
    joined.state = 'over';
    if (state === 'running') joined.onCancel?.(new RdmaError('RDMA_ERR_ABORTED', why));
    else this.settle(joined);
  }

  /** The request has ended, or begins again as another attempt: its task stops. */
  end(joined: Joined): void {
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

  /** Nobody reads its inputs any more, and what was made of them is acknowledged: so are they. */
  settle(joined: Joined): void {
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
