// A place of a running graph: one inbox, the outboxes to every place that it may send to, the join of what arrives, and
// custody of what was sent on. Gateways and stage instances are thin layers on top of it.
//
// Invariant (custody): an input is acknowledged only when everything made from it has been acknowledged, or its request
// has ended. So whichever process dies, some process upstream still holds what is needed. A message that this place
// cannot take is never acknowledged: the place fails with the reason, for its sender and its owner to see.
import { RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import {
  type Block,
  type InboxMessage,
  type InboxStatus,
  type MemoryPool,
  type MemoryPoolStatus,
  Poller,
  type PollerStatus,
} from '../ring/index.js';
import { Attachment } from './attachment.js';
import { checkParts, type PartToSend, type RegisteredMemory, tensorBytes } from './body.js';
import { compose, copiedParts, NO_MEMORY } from './compose.js';
import { Custody, type Held } from './custody.js';
import { type Envelope, Kind, kindOf, readEnvelope, writeEnvelope } from './envelope.js';
import { Input, lost, senderName } from './input.js';
import { Join, type JoinedInputs, type Ledger } from './join.js';
import { type PlaceSizes, placeSizes } from './lane-sizes.js';
import { HopLatencies, type LatencyStatus } from './latency.js';
import { type LinkStatus, Links } from './links.js';
import type { NoteHead } from './notes.js';
import { encodeComing, readEnded, readNoteHead } from './notes.js';
import { Patience } from './patience.js';
import type { PlaceAddress } from './place-address.js';
import { GATEWAY_INDEX, type PlaceId, type Plan, placeName } from './plan.js';
import type { PipelinePort } from './port.js';
import { Slab } from './slab.js';
import { Scratch } from './scratch.js';
import { type Graph, possibleReceivers, possibleSenderCount, receivers, senders } from './routing.js';
import { keptPieces, takesOf } from './stream-limits.js';
import { REQUEST, sizeRemedy } from './spec.js';
import { viewOf } from './view.js';
import type { Via } from './link-connector.js';

/** The most lanes of an inbox; a plan with more senders is refused. */
const MAX_LANES = 4096;
const SPARE_LANES = 64;
/** How long inputs may be incomplete before their gateway is asked whether the request goes on. */
const INCOMPLETE_MS = 1000;
/** Messages of a plan that is not known here yet, which wait for it. */
const MAX_EARLY = 4096;
/** How long to poll for a message that was announced, in microseconds: what making it may take. */
export const LINGER_US = 500;
/** What is made faster is not announced. */
const MIN_ANNOUNCED_US = 20;

/** What every place has to know. */
export interface PlaceOptions {
  port: PipelinePort;
  graph: Graph;
  self: PlaceId;
  /** Which process in this place it is: larger than that of every one before it, 1 to 2^32 - 1. */
  incarnation: number;
  plan: Plan;
  /** Plans before that one whose requests may be under way still; default none. Their messages may come at once. */
  olderPlans?: readonly Plan[];
  /** Name of the device, or an opened one of the port: memory for outputs is taken there. */
  device: unknown;
  /** More devices, the one to prefer first: it listens on all of them, and sends by whichever reaches the target. */
  otherDevices?: readonly unknown[];
  /** The address of this host that other hosts reach; default 127.0.0.1: they cannot. */
  listenHost?: string | undefined;
  /** A target is reached by another device than before, or for the first time, or by none. */
  onVia?: ((target: string) => void) | undefined;
  secret: string | Secret<string>;
  /** How long to poll after something came, in microseconds; see PollerOptions. */
  pollUs: number;
  /** The loop of this process, of the clock of `port`, where others have a share in it; default: one of its own. */
  poller?: Poller | undefined;
  /** How long a place that this one sends to may not answer at its address, in ms. */
  reconnectMs: number;
  resolve: (target: string) => PlaceAddress | Promise<PlaceAddress>;
  /** What differs from the usual sizes of the device. */
  sizes?: Partial<PlaceSizes> | undefined;
  /** A defect that a test plants, to see that the simulation finds it. */
  flaw?: string | undefined;
}

/** What a place asks of the gateway or stage instance above it. */
export interface PlaceOwner {
  /** All inputs of a task are here. */
  onComplete(joined: JoinedInputs): void;
  /** More of a stream has come that a task reads, or will. */
  onPieces(joined: JoinedInputs): void;
  /** A note to a gateway. */
  onNote(kind: number, bytes: Uint8Array, view: DataView): void;
  /** Inputs wait for others for a second already: asked again each second. */
  onIncomplete(joined: JoinedInputs): void;
  /** An input cannot be read, though its sender lives. */
  onUnreadable(joined: JoinedInputs, reason: RdmaError): void;
  /** The place cannot go on. */
  onFailed(reason: RdmaError): void;
}

/** Answered by `Place.status`. Computed at each call; not for hot loops. */
export interface PlaceStatus {
  readonly name: string;
  readonly incarnation: number;
  /** Numbers of the plans that it works under. */
  readonly plans: readonly number[];
  /** Requests that are here: incomplete, waiting, running or sent on and not acknowledged. */
  readonly open: number;
  readonly incomplete: number;
  /** Messages of plans that are not known here yet. */
  readonly early: number;
  /** Outputs that were announced to places which slept, since the start. */
  readonly announced: number;
  /** How long inputs were under way since the start, by the stage (or `request`) that they came from. */
  readonly hops: Readonly<Record<string, LatencyStatus>>;
  readonly links: readonly LinkStatus[];
  readonly inbox: InboxStatus | undefined;
  readonly poller: PollerStatus;
  readonly pool: MemoryPoolStatus;
  /** Of its other devices, by name. */
  readonly others: Readonly<Record<string, { inbox: InboxStatus | undefined; pool: MemoryPoolStatus }>>;
}

/** An output, checked and measured, before it is sent. */
export interface Outgoing {
  readonly parts: readonly PartToSend[];
  readonly meta: Uint8Array;
  readonly trace: Uint8Array;
  /** Of all tensors. */
  readonly bytes: number;
}

export class Place {
  readonly name: string;
  readonly options: PlaceOptions;
  readonly join: Join;
  /** Memory for outputs. */
  readonly pool: MemoryPool;
  readonly poller: Poller;
  readonly flaw: string | undefined;
  /** @internal */
  readonly takes: Uint8Array | undefined;
  private owner!: PlaceOwner; // from listen() on
  // One for each device; the first one has the pool.
  private readonly attachments: readonly Attachment[];
  readonly sizes: PlaceSizes;
  private readonly links: Links;
  private readonly plans = new Map<number, Plan>();
  private readonly adopting = new Set<Plan>(); // their places are being connected to
  private newest: Plan;
  private early: { message: InboxMessage; bytes: Uint8Array }[] = [];
  private readonly slab = new Slab();
  /** The note that a message is coming. */
  readonly coming: Uint8Array;
  private readonly scratch: Scratch;
  private stopAsking: (() => void) | undefined;
  private ending = false;
  private announced = 0;
  private readonly hops = new HopLatencies();
  // The last answers of sendersOf() and receiversOf(), by what they depend on.
  private lastSenders: { plan: Plan; gateway: number; route: Uint16Array; senders: readonly PlaceId[] } | undefined;
  private lastReceivers: { plan: Plan; gateway: number; route: Uint16Array; names: readonly string[] } | undefined;

  /**
   * A place that does not listen yet, with its devices and its memory; the next call is {@link Place.listen}.
   *
   * @throws RdmaError RDMA_ERR_NO_DEVICE; as MemoryPool.open
   */
  constructor(options: PlaceOptions) {
    this.options = options;
    this.flaw = options.flaw;
    this.newest = options.plan;
    for (const plan of [...(options.olderPlans ?? []), options.plan]) this.plans.set(plan.number, plan);
    this.name = placeName(options.graph.spec, options.self);
    this.takes = takesOf(options.graph, options.self.stage);
    const { port, secret, reconnectMs, resolve, pollUs, graph, self, plan } = options;
    this.attachments = attach(port, [options.device, ...(options.otherDevices ?? [])]);
    const [first] = this.attachments as [Attachment, ...Attachment[]];
    this.poller = options.poller ?? new Poller({ pollUs, clock: port.clock });
    this.join = new Join(this);
    this.coming = encodeComing(this.noteHead(options.incarnation));
    try {
      this.sizes = placeSizes(first.device, options.sizes);
      this.scratch = new Scratch(this.sizes.inlineBytes);
      for (const each of this.attachments) each.openPool(this.sizes.poolBytes);
      this.pool = first.pool;
    } catch (error) {
      for (const each of this.attachments) each.close();
      throw error;
    }
    this.links = new Links({
      name: this.name,
      port,
      attachments: this.attachments,
      address: () => this.address,
      poller: this.poller,
      sizes: this.sizes,
      stages: graph.spec.stages.length,
      pieces: keptPieces(graph.spec, self.stage, this.sizes, plan.gateways.length),
      secret,
      reconnectMs,
      resolve,
      flaw: options.flaw,
      onVia: options.onVia ?? (() => {}),
      onFailed: (target, reason) =>
        this.fail(new RdmaError('RDMA_ERR_PEER_GONE', `${target} does not come back: ${reason.message}`)),
    });
  }

  /**
   * Opens a place: its inbox listens.
   *
   * @throws RdmaError as Inbox.listen
   */
  static async open(options: PlaceOptions, owner: PlaceOwner): Promise<Place> {
    const place = new Place(options);
    await place.listen(owner);
    return place;
  }

  /**
   * Lets the inbox listen; a place that cannot is closed.
   *
   * @param owner told what arrives from now on
   * @throws RdmaError as Inbox.listen
   */
  async listen(owner: PlaceOwner): Promise<void> {
    this.owner = owner;
    const { graph, plan, self, secret, listenHost } = this.options;
    const { name, poller, sizes } = this;
    const maxLanes = Math.min(MAX_LANES, 2 * possibleSenderCount(graph, plan, self) + SPARE_LANES);
    const onMessage = (message: InboxMessage) => this.onMessage(message);
    try {
      for (const each of this.attachments) {
        await each.listen({ name, secret, poller, sizes, maxLanes, listenHost, onMessage });
      }
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Where other places connect. */
  get address(): PlaceAddress {
    const { machine, hostname } = this.options.port.location;
    return { machine, hostname, devices: this.attachments.map(({ address }) => address) };
  }

  /** The device by which each place is reached, and why. */
  get vias(): Record<string, Via> {
    return this.links.vias;
  }

  /** The newest plan. */
  get plan(): Plan {
    return this.newest;
  }

  get deviceName(): string {
    return this.attachments[0]!.device.name;
  }

  nowUs(): number {
    return this.options.port.nowUs();
  }

  // ---- Plans

  /** Connects to all that this place may send to under its plans. @throws as Outbox.connect */
  async connect(): Promise<void> {
    await this.links.connect([...this.targets()]);
  }

  private targets(): Set<string> {
    const { graph, self } = this.options;
    const names = new Set<string>();
    for (const plan of [...this.plans.values(), ...this.adopting]) {
      for (const place of possibleReceivers(graph, plan, self)) names.add(placeName(graph.spec, place));
    }
    return names;
  }

  /**
   * Works under one more plan, when it has connected to all places of it.
   *
   * @param plan newer than all before it
   * @throws as Outbox.connect
   */
  async adopt(plan: Plan): Promise<void> {
    if (this.plans.has(plan.number)) return;
    const { graph, self } = this.options;
    const names = possibleReceivers(graph, plan, self).map((place) => placeName(graph.spec, place));
    this.links.welcome(names);
    // An older plan may be retired meanwhile: what this one needs is not let go of. And it may be retired itself.
    this.adopting.add(plan);
    try {
      await this.links.connect(names);
      if (!this.adopting.has(plan)) return;
    } finally {
      this.adopting.delete(plan);
    }
    this.plans.set(plan.number, plan);
    if (plan.number > this.newest.number) this.newest = plan;
    const { early } = this;
    this.early = [];
    for (const { message, bytes } of early) this.take(message, bytes);
  }

  /** A plan under which no request is any more; what is left of its places only is let go. */
  async retire(number: number): Promise<void> {
    if (number === this.newest.number) return;
    const coming = [...this.adopting].filter((plan) => plan.number === number);
    for (const plan of coming) this.adopting.delete(plan);
    if (!this.plans.delete(number) && coming.length === 0) return;
    for (const joined of this.join.all()) if (joined.plan.number === number) this.join.end(joined);
    await this.links.keepOnly(this.targets());
  }

  /**
   * A place is gone for good. Its requests end or are admitted again, which is up to their gateways; here nothing waits
   * for it any more.
   */
  giveUp(place: PlaceId): Promise<void> {
    return this.links.giveUp(placeName(this.options.graph.spec, place));
  }

  /** What `resolve` answers may have changed: whatever is sent to a place that is elsewhere goes there. */
  reviewAddresses(): void {
    this.links.review();
  }

  // ---- What arrives

  private onMessage(message: InboxMessage): void {
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
      this.fail(asRdmaError(error, `a message from ${message.from} was refused`));
    }
  }

  private takeNote(kind: number, message: InboxMessage, bytes: Uint8Array, view: DataView): void {
    if (kind === Kind.COMING) this.poller.linger(LINGER_US);
    else if (kind === Kind.ENDED) {
      const head = readNoteHead(bytes, view, this.options.graph.spec.stages.length);
      const ledger = this.join.ledgerOf(head.instance, head.gatewayRun);
      for (const { ticket, attempt } of readEnded(bytes, view)) this.join.endRequest(ledger, ticket, attempt);
    } else {
      this.checkRun(readNoteHead(bytes, view, this.options.graph.spec.stages.length).gatewayRun);
      this.owner.onNote(kind, bytes, view);
    }
    message.acknowledge();
  }

  // What a later run of this gateway waits for must not be acknowledged here: its sender has not noticed yet that
  // another process has the place.
  private checkRun(gatewayRun: number): void {
    const { self, incarnation } = this.options;
    if (!isGateway(self) || gatewayRun <= incarnation) return;
    throw new RdmaError('RDMA_ERR_FENCED', `another process has taken the place ${this.name}`);
  }

  private takeInput(message: InboxMessage, bytes: Uint8Array, view: DataView): void {
    const { spec } = this.options.graph;
    const envelope = readEnvelope(bytes, view, spec.stages.length);
    this.checkRun(envelope.gatewayRun);
    if (!this.plans.has(envelope.plan)) {
      this.takeOfOtherPlan(message, bytes, envelope);
      return;
    }
    const input = new Input(spec, envelope, message, this.nowUs(), envelope.host === this.options.port.host);
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
    const { resolve } = this.options;
    const isAgain = input.envelope.fromStage !== GATEWAY_INDEX;
    return new Patience(isAgain ? () => resolve(input.sender) : undefined, input.arrivedUs);
  }

  // Its sender may have lost its lane just now: it comes back, or another process in its place makes the input again.
  private retryLoad(ledger: Ledger, input: Input, bytes: Uint8Array, view: DataView, error: unknown): void {
    if (this.ending || !input.isHeld) return;
    input.patience ??= this.patienceWith(input);
    const isGone = (error as RdmaError).code === 'RDMA_ERR_PEER_GONE';
    const retryMs = isGone ? input.patience.next(this.nowUs()) : undefined;
    if (retryMs !== undefined) {
      this.options.port.clock.after(retryMs, () => {
        if (!this.ending && input.isHeld) this.load(ledger, input, bytes, view);
      });
      return;
    }
    const joined = ledger.open.get(input.envelope.ticket);
    // Of a stream also when its task has begun.
    const isWanted = joined?.state === 'incomplete' || (joined?.streams !== undefined && joined.state !== 'sent');
    if (joined !== undefined && isWanted) this.owner.onUnreadable(joined, lost(input, error));
  }

  private takeOfOtherPlan(message: InboxMessage, bytes: Uint8Array, envelope: Envelope): void {
    if (envelope.plan < this.newest.number) {
      // That plan was retired, as all its requests had ended: this is a late copy.
      message.acknowledge();
      return;
    }
    if (this.early.length >= MAX_EARLY) {
      const sender = senderName(this.options.graph.spec, envelope);
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
      joined.readyAtUs = this.nowUs();
      for (const input of joined.inputs) if (input !== undefined) this.hops.add(input.envelope.fromStage, input.hopUs);
      this.owner.onComplete(joined);
      if (waitsForMore(joined)) this.askLater();
    } else this.askLater();
  }

  /** @internal */
  sendersOf(input: Input): { plan: Plan; senders: readonly PlaceId[] } {
    const { graph, self } = this.options;
    const { plan: number, route, gateway } = input.envelope;
    const plan = this.plans.get(number)!;
    const last = this.lastSenders;
    if (last !== undefined && last.plan === plan && last.gateway === gateway && sameRoute(last.route, route))
      return last;
    const all = senders(graph, plan, route, gateway, self);
    const places = this.flaw === 'wrong-inverse' ? all.slice(0, 1) : all;
    this.lastSenders = { plan, gateway, route: route.slice(), senders: places };
    return this.lastSenders;
  }

  // One timer for all that is incomplete; none when nothing is.
  private askLater(): void {
    if (this.stopAsking !== undefined || this.ending || this.flaw === 'no-asking') return;
    this.stopAsking = this.options.port.clock.after(INCOMPLETE_MS, () => {
      this.stopAsking = undefined;
      const before = this.nowUs() - INCOMPLETE_MS * 1000;
      let any = false;
      for (const joined of this.join.all()) {
        if (!waitsForMore(joined)) continue;
        any = true;
        if (joined.openedAtUs <= before) this.owner.onIncomplete(joined);
      }
      if (any) this.askLater();
    });
  }

  // ---- What is sent

  /**
   * Checks an output and finds what of it lies in registered memory already.
   *
   * @param memory see checkParts()
   * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_MESSAGE_TOO_LARGE
   */
  prepare(
    parts: unknown,
    meta: Uint8Array,
    trace: Uint8Array,
    limitBytes: number,
    limitName: string,
    memory: RegisteredMemory | undefined,
  ): Outgoing {
    const checked = checkParts(parts, memory);
    const bytes = tensorBytes(checked);
    if (bytes > limitBytes) {
      throw new RdmaError('RDMA_ERR_MESSAGE_TOO_LARGE', `tensors of ${bytes} bytes; at most ${limitBytes}`, {
        remedy: sizeRemedy(bytes, limitName),
      });
    }
    return { parts: checked, meta, trace, bytes };
  }

  /** The places that take an output of this one, by name. */
  receiversOf(plan: Plan, gateway: number, route: Uint16Array): readonly string[] {
    const last = this.lastReceivers;
    if (last !== undefined && last.plan === plan && last.gateway === gateway && sameRoute(last.route, route)) {
      return last.names;
    }
    const { graph, self } = this.options;
    const places = receivers(graph, plan, route, gateway, self);
    const names = places.map((place) => placeName(graph.spec, place));
    this.lastReceivers = { plan, gateway, route: route.slice(), names };
    return names;
  }

  /**
   * Sends an output to several places. Small ones go through the lanes; of others one copy is kept here, which all
   * receivers share.
   *
   * @param envelope its lengths and its block are set here
   * @param blocks memory that the parts refer to; the references go over to the custody, unless it returns false. When
   *   it throws they are given back, as soon as nobody reads that memory any more
   * @param onSettled called when all targets have acknowledged it; or the custody of the stream that it belongs to,
   *   which its owner closes
   * @returns false when there is no memory for it before something else was acknowledged: nothing was sent
   * @throws RdmaError ENOMEM; the error of a link that has failed; TypeError when the memory of a part was taken away.
   *   Some targets may have got it then; `onSettled` is not called
   */
  transmit(
    envelope: Envelope,
    output: Outgoing,
    targets: readonly string[],
    blocks: readonly Held[],
    onSettled: (() => void) | Custody,
  ): boolean {
    // Where there is one device, or all go by the first.
    if (this.attachments.length > 1) {
      const by = this.links.attachmentsOf(targets);
      if (by.some((each) => each !== this.attachments[0])) {
        return this.transmitBy(by, envelope, output, targets, blocks, onSettled);
      }
    }
    let length: number;
    try {
      length = this.compose(this.attachments[0]!, envelope, output, output.parts);
    } catch (error) {
      for (const block of blocks) block.release();
      throw error;
    }
    if (length === NO_MEMORY) return false;
    const block = envelope.block as Block | undefined;
    let kept = block === undefined ? blocks : blocks.length === 0 ? [block] : [...blocks, block];
    const made = kept;
    if (this.flaw === 'early-release') kept = NO_BLOCKS;
    const isOfStream = onSettled instanceof Custody;
    const custody = isOfStream ? onSettled : new Custody(kept, onSettled);
    if (isOfStream) custody.keep(kept);
    const message = this.scratch.first(length);
    try {
      for (let i = 0; i < targets.length; i++) this.links.send(targets[i]!, message, custody, envelope.sentAtUs);
    } catch (error) {
      if (!isOfStream) custody.fail();
      throw error;
    }
    if (!isOfStream) custody.allSent();
    if (this.flaw === 'early-release') for (const block of made) block.release();
    return true;
  }

  private compose(by: Attachment, envelope: Envelope, output: Outgoing, parts: readonly PartToSend[]): number {
    const { meta, trace } = output;
    const length = compose(this.scratch, this.sizes.inlineBytes, by.pool, envelope, trace, parts, meta);
    if (length === NO_MEMORY) return NO_MEMORY;
    envelope.sentAtUs = this.nowUs();
    envelope.host = this.options.port.host;
    writeEnvelope(this.scratch.view, envelope);
    return length;
  }

  // By several devices, or another one than the first: each has a copy in its own memory.
  private transmitBy(
    by: readonly Attachment[],
    envelope: Envelope,
    output: Outgoing,
    targets: readonly string[],
    blocks: readonly Held[],
    onSettled: (() => void) | Custody,
  ): boolean {
    const made: Block[] = [];
    const messages: { by: Attachment; bytes: Uint8Array }[] = [];
    try {
      for (const each of by) {
        const parts = each === this.attachments[0] ? output.parts : copiedParts(output.parts);
        const length = this.compose(each, envelope, output, parts);
        if (length === NO_MEMORY) {
          for (const block of made) block.release();
          return false;
        }
        if (envelope.block !== undefined) made.push(envelope.block as Block);
        messages.push({ by: each, bytes: this.scratch.bytes.slice(0, length) });
      }
    } catch (error) {
      for (const block of [...made, ...blocks]) block.release();
      throw error;
    }
    const isOfStream = onSettled instanceof Custody;
    const custody = isOfStream ? onSettled : new Custody([...blocks, ...made], onSettled);
    if (isOfStream) custody.keep([...blocks, ...made]);
    try {
      for (const target of targets) {
        // One that was given up takes nothing, whatever is sent.
        const { bytes } = messages.find((message) => this.links.goesBy(target, message.by)) ?? messages[0]!;
        this.links.send(target, bytes, custody, envelope.sentAtUs);
      }
    } catch (error) {
      if (!isOfStream) custody.fail();
      throw error;
    }
    if (!isOfStream) custody.allSent();
    return true;
  }

  /**
   * Sends a note.
   *
   * @param onSettled called when it was acknowledged; undefined: nobody waits for that
   */
  sendNote(target: string, bytes: Uint8Array, onSettled?: () => void): void {
    if (onSettled === undefined) {
      if (!this.links.has(target)) return;
      try {
        this.links.send(target, bytes, undefined, this.nowUs());
      } catch {
        // The link has failed, and so has this place: its owner knows.
      }
      return;
    }
    const custody = new Custody([], onSettled);
    this.links.send(target, bytes, custody, this.nowUs());
    custody.allSent();
  }

  /** True when it pays to announce an output that takes so long to make, in microseconds. */
  mayAnnounce(expectedUs: number): boolean {
    return expectedUs >= MIN_ANNOUNCED_US && expectedUs <= LINGER_US && this.options.pollUs > 0;
  }

  /**
   * Lets the places that an output goes to know of it while it is being made, if they sleep by now: they wake up
   * meanwhile and poll for it.
   */
  announce(targets: readonly string[], nowUs: number): void {
    const { pollUs } = this.options;
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i]!;
      if (nowUs - this.links.usedAtUs(target) <= pollUs) continue;
      this.announced++;
      this.sendNote(target, this.coming);
    }
  }

  /** How this place names itself in notes to a run of a gateway. */
  noteHead(gatewayRun: number): NoteHead {
    const { stage, instance } = this.options.self;
    return { stage, instance, gatewayRun };
  }

  // ---- State

  /** True when nothing of any request is here, neither arrived nor sent on and not acknowledged. */
  get isEmpty(): boolean {
    return this.join.openCount === 0 && this.early.length === 0;
  }

  /** True when messages to a target wait here. */
  hasBacklog(target: string): boolean {
    return this.links.hasBacklog(target);
  }

  /** How many outputs a target (`stage/0`) has not acknowledged. */
  unacknowledged(target: string): number {
    return this.links.unacknowledged(target);
  }

  status(): PlaceStatus {
    let incomplete = 0;
    for (const joined of this.join.all()) if (joined.state === 'incomplete') incomplete++;
    return {
      name: this.name,
      incarnation: this.options.incarnation,
      plans: [...this.plans.keys()],
      open: this.join.openCount,
      incomplete,
      early: this.early.length,
      announced: this.announced,
      hops: this.hops.status((stage) => (stage < 0 ? REQUEST : this.options.graph.spec.stages[stage]!.name)),
      links: this.links.status(),
      inbox: this.attachments[0]!.inbox?.status(),
      poller: this.poller.status(),
      pool: this.pool.status(),
      others: Object.fromEntries(
        this.attachments.slice(1).map(({ device, inbox, pool }) => {
          return [device.name, { inbox: inbox?.status(), pool: pool.status() }];
        }),
      ),
    };
  }

  private fail(reason: RdmaError): void {
    if (!this.ending) this.owner.onFailed(reason);
  }

  get isEnding(): boolean {
    return this.ending;
  }

  /** Ends the place at once; what it has not finished stays with the places before it. */
  async close(): Promise<void> {
    this.ending = true;
    this.stopAsking?.();
    this.early = [];
    for (const joined of this.join.all()) {
      joined.onCancel?.(new RdmaError('RDMA_ERR_CLOSED', `${this.name} is being closed`));
    }
    for (const each of this.attachments) await each.closeInbox();
    await this.links.close();
    for (const each of this.attachments) each.close();
  }
}

const NO_BLOCKS: readonly Block[] = [];

// Opens all of them, or none.
function attach(port: PipelinePort, devices: readonly unknown[]): readonly Attachment[] {
  const opened: Attachment[] = [];
  try {
    for (const device of devices) opened.push(new Attachment(port, device));
  } catch (error) {
    for (const each of opened) each.close();
    throw error;
  }
  return opened;
}

// What it waits for may never come: its request may have ended.
function waitsForMore(joined: JoinedInputs): boolean {
  const { state, streams } = joined;
  if (state === 'incomplete') return true;
  return streams !== undefined && (state === 'ready' || state === 'running') && !joined.isClosed;
}

function sameRoute(a: Uint16Array, b: Uint16Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The error itself, or one that carries it. */
export function asRdmaError(error: unknown, text: string): RdmaError {
  if (error instanceof RdmaError) return error;
  return new RdmaError('RDMA_ERR_PROTOCOL', `${text}: ${String(error)}`, { cause: error });
}

/** True for the gateway's own index. */
export function isGateway(place: PlaceId): boolean {
  return place.stage === GATEWAY_INDEX;
}
