// The outboxes from one place to all places that it may send to.
//
// Invariant: a message for a target goes out in one lane and stays with this place until the target acknowledges it. A
// target without room holds up no other target: its messages wait here, in order. After close() no outbox is left, not
// even one that was connecting.
import { RdmaError } from '../core/errors.js';
import type { OutboxStatus } from '../ring/index.js';
import type { Attachment } from './attachment.js';
import type { Custody } from './custody.js';
import type { Link } from './link.js';
import { type Via, LinkConnector, type LinkConnectorOptions } from './link-connector.js';

export type LinkOptions = LinkConnectorOptions;

/** What an operator asks of the links of a place. */
export interface LinkStatus {
  readonly target: string;
  /** Messages that wait for room in the lane. */
  readonly backlog: number;
  /** Outputs that the target has not acknowledged. */
  readonly unacknowledged: number;
  /** The device that it goes by, and why. */
  readonly via: Via;
  readonly outbox: OutboxStatus;
}

export class Links {
  private readonly options: LinkOptions;
  private readonly links = new Map<string, Link>();
  private readonly connectors = new Map<string, LinkConnector>(); // of the links, by target
  private readonly connecting = new Map<string, Promise<void>>();
  private readonly moving = new Set<Promise<void>>(); // to other devices
  private readonly gone = new Set<string>(); // given up, while a plan names them
  private readonly unknown = new Map<string, () => void>(); // targets without an address: ends the wait for the first
  private closed = false;

  constructor(options: LinkOptions) {
    this.options = options;
  }

  /** Connects to every target that is not connected yet. @throws as Outbox.connect */
  async connect(targets: readonly string[]): Promise<void> {
    await Promise.all(targets.map((target) => this.connectOnce(target)));
  }

  /** A newer plan names these: of those that were given up, others have the names now. */
  welcome(targets: readonly string[]): void {
    for (const target of targets) this.gone.delete(target);
  }

  /** Addresses may have changed: connects to the targets that are elsewhere. */
  review(): void {
    for (const connector of this.connectors.values()) connector.review();
  }

  private connectOnce(target: string): Promise<void> {
    if (this.links.has(target) || this.gone.has(target)) return Promise.resolve();
    let connecting = this.connecting.get(target);
    if (connecting === undefined) {
      connecting = this.connectTo(target).finally(() => this.connecting.delete(target));
      this.connecting.set(target, connecting);
    }
    return connecting;
  }

  private async connectTo(target: string): Promise<void> {
    await this.whenKnown(target);
    const unwanted = () => {
      if (this.closed) return 'the sender is being closed';
      return this.gone.has(target) ? `${target} was given up` : undefined;
    };
    const connector = new LinkConnector(this.options, target, unwanted);
    try {
      await connector.connect((moving) => this.keepMove(moving));
    } catch (error) {
      if (this.gone.has(target)) return;
      throw error;
    }
    const link = connector.link!;
    if (this.closed) {
      await link.close();
      throw new RdmaError('RDMA_ERR_CLOSED', 'closed while connecting');
    }
    if (this.gone.has(target)) {
      await link.close();
      return;
    }
    this.links.set(target, link);
    this.connectors.set(target, connector);
  }

  // It is being connected to elsewhere: that ends before this does.
  private keepMove(moving: Promise<void>): void {
    this.moving.add(moving);
    void moving.finally(() => this.moving.delete(moving));
  }

  // A target may take longer to start than it may be away later.
  private async whenKnown(target: string): Promise<void> {
    let address: unknown;
    try {
      address = this.options.resolve(target);
    } catch {
      return; // The outbox asks again.
    }
    if (!(address instanceof Promise)) return;
    const ended = new Promise<void>((resolve) => {
      this.unknown.set(target, resolve);
    });
    await Promise.race([address, ended]).finally(() => this.unknown.delete(target));
  }

  /**
   * Sends a message to a target; to one that was given up, nothing.
   *
   * @param bytes the message, at most maxLaneMessageBytes(); copied before this returns
   * @param custody counts this receiver until it has acknowledged; undefined for a note
   * @param nowUs the time, by the clock of the port in microseconds
   * @throws the error of an outbox that has failed
   */
  send(target: string, bytes: Uint8Array, custody: Custody | undefined, nowUs: number): void {
    const link = this.links.get(target);
    if (link === undefined && this.gone.has(target)) return;
    if (link === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `there is no link to ${target}`);
    link.usedAtUs = nowUs;
    link.send(bytes, custody);
  }

  /** True when there is a link to the target. */
  has(target: string): boolean {
    return this.links.has(target);
  }

  /** True when messages to the target wait for room, or there is no link to it. */
  hasBacklog(target: string): boolean {
    return this.links.get(target)?.backlog !== 0;
  }

  /**
   * When the last message was sent to a target, by the clock of the port in microseconds; Infinity: there is no link to
   * it.
   */
  usedAtUs(target: string): number {
    return this.links.get(target)?.usedAtUs ?? Number.POSITIVE_INFINITY;
  }

  /** How many outputs a target has not acknowledged. */
  unacknowledged(target: string): number {
    const link = this.links.get(target);
    return link?.unacknowledged ?? 0;
  }

  /** The devices by which some targets are reached, each once. */
  attachmentsOf(targets: readonly string[]): Attachment[] {
    const found: Attachment[] = [];
    for (const target of targets) {
      const by = this.connectors.get(target)?.by;
      if (by !== undefined && !found.includes(by)) found.push(by);
    }
    return found;
  }

  /** Whether a target is reached by a device. */
  goesBy(target: string, by: Attachment): boolean {
    return this.connectors.get(target)?.by === by;
  }

  /** The device that each target is reached by, and why. */
  get vias(): Record<string, Via> {
    return Object.fromEntries(
      [...this.connectors].flatMap(([target, { via }]) => (via === undefined ? [] : [[target, via]])),
    );
  }

  status(): LinkStatus[] {
    return [...this.links].map(([target, { outbox, backlog, unacknowledged }]) => ({
      target,
      backlog,
      unacknowledged,
      via: this.connectors.get(target)!.via!,
      outbox: outbox.status(),
    }));
  }

  /**
   * Closes the link to a target that does not come back, also one that is being made. What it has not acknowledged is
   * settled, and nothing is sent there until a later plan names it.
   */
  async giveUp(target: string): Promise<void> {
    this.gone.add(target);
    this.unknown.get(target)?.();
    const link = this.links.get(target);
    if (link === undefined) return;
    this.links.delete(target);
    this.connectors.delete(target);
    await link.close();
  }

  /**
   * Closes the links to all targets but these, also those that are being made. What was not acknowledged there is
   * settled: nobody will ask for it.
   */
  async keepOnly(targets: ReadonlySet<string>): Promise<void> {
    const gone = [...this.links].filter(([target]) => !targets.has(target));
    const unmade = [...this.connecting].filter(([target]) => !targets.has(target));
    for (const [target] of gone) {
      this.links.delete(target);
      this.connectors.delete(target);
    }
    for (const [target] of unmade) {
      this.gone.add(target);
      this.unknown.get(target)?.();
    }
    await Promise.all([...gone.map(([, link]) => link.close()), ...unmade.map(([, attempt]) => attempt)]);
    for (const target of this.gone) if (!targets.has(target)) this.gone.delete(target);
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const end of this.unknown.values()) end();
    await Promise.allSettled(this.connecting.values());
    const links = [...this.links.values()];
    this.links.clear();
    this.connectors.clear();
    await Promise.all([...links.map((link) => link.close()), ...this.moving]);
  }
}
