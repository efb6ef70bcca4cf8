// The ways from one place to all places that it may send to.
//
// Invariant: a target without room holds up nobody else: what is for it waits in its link. After close() no outbox is
// left, not even one that was being connected.
import { RdmaError } from '../core/errors.js';
import { type InboxAddress, type MemoryPool, Outbox, type OutboxStatus, type Poller } from '../ring/index.js';
import type { Device } from '../verbs/index.js';
import type { Custody } from './custody.js';
import { laneSizes, placeSecret, type PlaceSizes } from './lane-sizes.js';
import { Link } from './link.js';
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
    const link = new Link(port.clock, sizes.residentRequests);
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
      onAcknowledged: (sequence) => link.onAcknowledged(sequence),
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
    link.open(outbox);
    this.links.set(target, link);
  }

  /**
   * Sends a message to a target.
   *
   * @param bytes the message, of a length that goes through a lane; copied before this returns
   * @param custody counts this receiver until it has acknowledged; undefined for a note
   * @throws RdmaError RDMA_ERR_PEER_GONE when there is no way to the target; the error of an outbox that has failed
   */
  send(target: string, bytes: Uint8Array, custody: Custody | undefined): void {
    const link = this.links.get(target);
    if (link === undefined) throw new RdmaError('RDMA_ERR_PEER_GONE', `there is no way to ${target}`);
    link.send(bytes, custody);
  }

  /** True when there is a way to the target. */
  has(target: string): boolean {
    return this.links.has(target);
  }

  /** How many outputs a target has not acknowledged. */
  unacknowledged(target: string): number {
    return this.links.get(target)?.unacknowledged ?? 0;
  }

  status(): LinkStatus[] {
    return [...this.links].map(([target, link]) => {
      const { backlog, unacknowledged } = link;
      return { target, backlog, unacknowledged, outbox: link.status() };
    });
  }

  /** Closes the ways to all targets but these. What was not acknowledged there is settled: nobody will ask for it. */
  async keepOnly(targets: ReadonlySet<string>): Promise<void> {
    const gone = [...this.links].filter(([target]) => !targets.has(target));
    for (const [target] of gone) this.links.delete(target);
    await Promise.all(gone.map(([, link]) => link.close()));
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled(this.connecting.values());
    const links = [...this.links.values()];
    this.links.clear();
    await Promise.all(links.map((link) => link.close()));
  }
}
