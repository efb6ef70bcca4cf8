// A place of a running graph: one inbox, the outboxes to every place that it may send to, the join of what arrives, and
// custody of what was sent on. Gateways and stage instances are thin layers on top of it.
//
// Invariant (custody): an input is acknowledged only when everything made from it has been acknowledged, or its request
// has ended. So whichever process dies, some process upstream still holds what is needed. A message that this place
// cannot take is never acknowledged: the place fails with the reason, for its sender and its owner to see.
import { RdmaError } from '../core/errors.js';
import { type InboxMessage, type MemoryPool, Poller } from '../ring/index.js';
import { Attachment } from './attachment.js';
import { checkParts, type RegisteredMemory, tensorBytes } from './body.js';
import { Custody, type Held } from './custody.js';
import type { Envelope } from './envelope.js';
import { Join } from './join.js';
import { type PlaceSizes, placeSizes } from './lane-sizes.js';
import { HopLatencies } from './latency.js';
import type { Via } from './link-connector.js';
import { Links } from './links.js';
import { Neighbours } from './neighbours.js';
import { encodeComing, type NoteHead } from './notes.js';
import type { PlaceAddress } from './place-address.js';
import type { PlaceOptions, PlaceOwner, PlaceStatus } from './place-options.js';
import { PlacePlans } from './place-plans.js';
import { type PlaceId, type Plan, placeName } from './plan.js';
import type { PipelinePort } from './port.js';
import { LINGER_US, Reception } from './reception.js';
import { possibleSenderCount } from './routing.js';
import { REQUEST, sizeRemedy } from './spec.js';
import { keptPieces, takesOf } from './stream-limits.js';
import { type Outgoing, Transmitter } from './transmitter.js';

/** The most lanes of an inbox; a plan with more senders is refused. */
const MAX_LANES = 4096;
const SPARE_LANES = 64;
/** What is made faster is not announced. */
const MIN_ANNOUNCED_US = 20;

export class Place {
  readonly name: string;
  readonly options: PlaceOptions;
  readonly join: Join;
  /** Memory for outputs. */
  readonly pool: MemoryPool;
  readonly poller: Poller;
  readonly flaw: string | undefined;
  private owner!: PlaceOwner; // from listen() on, as the next one
  private reception!: Reception;
  // One for each device; the first one has the pool.
  private readonly attachments: readonly Attachment[];
  readonly sizes: PlaceSizes;
  private readonly links: Links;
  private readonly transmitter: Transmitter;
  private readonly plans: PlacePlans;
  private readonly neighbours: Neighbours;
  /** The note that a message is coming. */
  readonly coming: Uint8Array;
  private ending = false;
  private announced = 0;
  private readonly hops = new HopLatencies();

  /**
   * A place that does not listen yet, with its devices and its memory; the next call is {@link Place.listen}.
   *
   * @throws RdmaError RDMA_ERR_NO_DEVICE; as MemoryPool.open
   */
  constructor(options: PlaceOptions) {
    this.options = options;
    this.flaw = options.flaw;
    this.name = placeName(options.graph.spec, options.self);
    const { port, secret, reconnectMs, resolve, pollUs, graph, self, plan } = options;
    this.attachments = attach(port, [options.device, ...(options.otherDevices ?? [])]);
    const [first] = this.attachments as [Attachment, ...Attachment[]];
    this.poller = options.poller ?? new Poller({ pollUs, clock: port.clock });
    this.plans = new PlacePlans(graph, self, plan, options.olderPlans ?? []);
    this.neighbours = new Neighbours(graph, self, options.flaw);
    this.join = new Join({
      sendersOf: ({ envelope }) =>
        this.neighbours.sendersOf(this.plans.get(envelope.plan)!, envelope.gateway, envelope.route),
      nowUs: () => port.nowUs(),
      takes: takesOf(graph, self.stage),
      flaw: options.flaw,
    });
    this.coming = encodeComing(this.noteHead(options.incarnation));
    try {
      this.sizes = placeSizes(first.device, options.sizes);
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
    this.transmitter = new Transmitter(port, this.attachments, this.links, this.sizes.inlineBytes, options.flaw);
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
    const { join, plans, hops, options } = this;
    const fail = (reason: RdmaError) => this.fail(reason);
    this.reception = new Reception({ name: this.name, options, join, plans, poller: this.poller, hops, fail }, owner);
    const { graph, plan, self, secret, listenHost } = this.options;
    const { name, poller, sizes } = this;
    const maxLanes = Math.min(MAX_LANES, 2 * possibleSenderCount(graph, plan, self) + SPARE_LANES);
    const onMessage = (message: InboxMessage) => this.reception.onMessage(message);
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
    return this.plans.newest;
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
    await this.links.connect([...this.plans.targets()]);
  }

  /**
   * Works under one more plan, when it has connected to all places of it.
   *
   * @param plan newer than all before it
   * @throws as Outbox.connect
   */
  async adopt(plan: Plan): Promise<void> {
    if (this.plans.has(plan.number)) return;
    const names = this.plans.targetsOf(plan);
    this.links.welcome(names);
    if (await this.plans.adopt(plan, () => this.links.connect(names))) this.reception.takeEarly();
  }

  /** A plan under which no request is any more; what is left of its places only is let go. */
  async retire(number: number): Promise<void> {
    if (!this.plans.retire(number)) return;
    for (const joined of this.join.all()) if (joined.plan.number === number) this.join.end(joined);
    await this.links.keepOnly(this.plans.targets());
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
    return this.neighbours.receiversOf(plan, gateway, route);
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
    return this.transmitter.transmit(envelope, output, targets, blocks, onSettled);
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
    return this.join.openCount === 0 && this.reception.earlyCount === 0;
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
      plans: this.plans.numbers,
      open: this.join.openCount,
      incomplete,
      early: this.reception.earlyCount,
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
    this.reception.close();
    for (const joined of this.join.all()) {
      joined.onCancel?.(new RdmaError('RDMA_ERR_CLOSED', `${this.name} is being closed`));
    }
    for (const each of this.attachments) await each.closeInbox();
    await this.links.close();
    for (const each of this.attachments) each.close();
  }
}

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
