// The outboxes from one place to all places that it may send to.
//
// Invariant: a message for a target goes out in one lane and stays with this place until the target acknowledges it. A
// target without room holds up nobody else: what is for it waits here, in order. After close() no outbox is left, not
// even one that was being connected.
import { RdmaError } from '../core/errors.js';
import { type InboxAddress, type MemoryPool, Outbox, type OutboxStatus, type Poller } from '../ring/index.js';
import type { Device } from '../verbs/index.js';
import type { Custody } from './custody.js';
import { laneSizes, placeSecret, type PlaceSizes } from './lane-sizes.js';
import type { PipelinePort } from './port.js';

export interface LinkOptions {
  /** Name of the place that sends. */
  name: string;
  port: PipelinePort;
  device: Device;
  poller: Poller;
  pool: MemoryPool;
  sizes: PlaceSizes;
  secret: string;
  reconnectMs: number;
  /** Where the inbox of a place is now; throws when it is not known yet. */
  resolve: (target: string) => InboxAddress | Promise<InboxAddress>;
  /** A target was away for longer than `reconnectMs`, or refused for good. */
  onFailed: (target: string, reason: Error) => void;
}

// What was sent and not acknowledged, by sequence; a note has no custody.
interface Link {
  outbox: Outbox;
  waiting: { sequence: number; custody: Custody }[];
  /** Messages that wait for room. */
  backlog: number;
  /** It was closed here: nobody asks for what it has not acknowledged. */
  closed: boolean;
}

/** What an operator asks of the links of a place. */
export interface LinkStatus {
  readonly target: string;
  /** Messages that wait for room in the lane. */
  readonly backlog: number;
  /** Outputs that the target has not acknowledged. */
  readonly unacknowledged: number;
  readonly outbox: OutboxStatus;
}

export class Links {
  private readonly options: LinkOptions;
  private readonly links = new Map<string, Link>();
  private readonly connecting = new Map<string, Promise<void>>();
  private closed = false;

  constructor(options: LinkOptions) {
    this.options = options;
  }

  /** Connects to every target that is not connected yet. @throws as Outbox.connect */
  async connect(targets: readonly string[]): Promise<void> {
    await Promise.all(targets.map((target) => this.connectOnce(target)));
  }

  private connectOnce(target: string): Promise<void> {
    if (this.links.has(target)) return Promise.resolve();
    let connecting = this.connecting.get(target);
    if (connecting === undefined) {
      connecting = this.connectTo(target).finally(() => this.connecting.delete(target));
      this.connecting.set(target, connecting);
    }
    return connecting;
  }

  private async connectTo(target: string): Promise<void> {
    const { name, port, device, poller, pool, sizes, secret, reconnectMs, resolve } = this.options;
    const waiting: Link['waiting'] = [];
    const outbox = await Outbox.connectOn(port, {
      to: () => {
        // This code ends the attempts.
        if (this.closed) throw new RdmaError('RDMA_ERR_REFUSED', 'the sender is being closed');
        return resolve(target);
      },
      secret: placeSecret(secret, target),
      name,
      device,
      poller,
      pool,
      reconnectMs,
      ...laneSizes(sizes),
      onAcknowledged: (sequence) => acknowledged(waiting, sequence),
      onConnection: (event) => {
        if (event.type === 'failed' && !this.closed) {
          this.options.onFailed(target, event.reason ?? new Error('unknown'));
        }
      },
    });
    if (this.closed) {
      await outbox.close();
      throw new RdmaError('RDMA_ERR_CLOSED', 'closed while connecting');
    }
    this.links.set(target, { outbox, waiting, backlog: 0, closed: false });
  }

  /**
   * Sends a message to a target.
   *
   * @param bytes the message, at most maxLaneMessageBytes(); copied before this returns
   * @param custody counts this receiver until it has acknowledged; undefined for a note
   * @throws the error of an outbox that has failed
   */
  send(target: string, bytes: Uint8Array, custody: Custody | undefined): void {
    const link = this.links.get(target);
    if (link === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `there is no way to ${target}`);
    custody?.sent();
    if (link.backlog === 0) {
      const sequence = link.outbox.trySend(bytes);
      if (sequence > 0) {
        this.sent(link, sequence, custody);
        return;
      }
    }
    link.backlog++;
    link.outbox.send(bytes.slice()).then(
      (sequence) => {
        link.backlog--;
        this.sent(link, sequence, custody);
      },
      () => {
        link.backlog--;
        // When it has failed instead, this place answers for it still, and fails with it.
        if (link.closed) custody?.acknowledged();
      },
    );
  }

  private sent(link: Link, sequence: number, custody: Custody | undefined): void {
    if (custody !== undefined) this.await(link, sequence, custody);
    // Acknowledgements count up to the first that is missing. What takes long is sent once more as a newer message, and
    // the receiver acknowledges the older one in exchange, so that it holds up nothing behind it.
    const oldest = link.waiting[0];
    const { residentRequests } = this.options.sizes;
    if (oldest === undefined || sequence - oldest.sequence < residentRequests || link.backlog > 0) return;
    const again = link.outbox.tryResend(oldest.sequence);
    if (again === 0) return;
    link.waiting.shift();
    this.await(link, again, oldest.custody);
  }

  private await(link: Link, sequence: number, custody: Custody): void {
    const { waiting, outbox } = link;
    if (outbox.acknowledged >= sequence) {
      custody.acknowledged();
      return;
    }
    let at = waiting.length;
    while (at > 0 && waiting[at - 1]!.sequence > sequence) at--;
    if (at === waiting.length) waiting.push({ sequence, custody });
    else waiting.splice(at, 0, { sequence, custody });
  }

  /** True when there is a way to the target. */
  has(target: string): boolean {
    return this.links.has(target);
  }

  /** How many outputs a target has not acknowledged. */
  unacknowledged(target: string): number {
    const link = this.links.get(target);
    return link === undefined ? 0 : link.waiting.length + link.backlog;
  }

  status(): LinkStatus[] {
    return [...this.links].map(([target, { outbox, waiting, backlog }]) => ({
      target,
      backlog,
      unacknowledged: waiting.length + backlog,
      outbox: outbox.status(),
    }));
  }

  /** Closes the ways to all targets but these. What was not acknowledged there is settled: nobody will ask for it. */
  async keepOnly(targets: ReadonlySet<string>): Promise<void> {
    const gone = [...this.links].filter(([target]) => !targets.has(target));
    for (const [target] of gone) this.links.delete(target);
    await Promise.all(gone.map(([, link]) => closeLink(link)));
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled(this.connecting.values());
    const links = [...this.links.values()];
    this.links.clear();
    await Promise.all(links.map(closeLink));
  }
}

async function closeLink(link: Link): Promise<void> {
  link.closed = true;
  await link.outbox.close();
  for (const { custody } of link.waiting.splice(0)) custody.acknowledged();
}

function acknowledged(waiting: Link['waiting'], sequence: number): void {
  let count = 0;
  while (count < waiting.length && waiting[count]!.sequence <= sequence) count++;
  if (count === 0) return;
  for (const { custody } of waiting.splice(0, count)) custody.acknowledged();
}
