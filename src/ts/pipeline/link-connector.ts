// The maker of the link from a place to one target: by the device that reaches the target, and again when the target
// moves.
//
// Invariant: the device is chosen before each attempt to connect, by the current address of the target. If the device
// changes, unacknowledged messages go by the new one, in order: nothing is lost, and the receiver recognises
// duplicates. After the place has let go of the target no outbox is left.
import { MAX_TIMEOUT_MS } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import type { Secret } from '../core/secret.js';
import { type InboxAddress, Outbox, type Poller } from '../ring/index.js';
import type { Device } from '../verbs/index.js';
import type { Attachment } from './attachment.js';
import { AwayTime } from './away-time.js';
import { laneSizes, placeSecret, type PlaceSizes } from './lane-sizes.js';
import { Link } from './link.js';
import type { PlaceAddress } from './place-address.js';
import type { PipelinePort } from './port.js';
import { type Reach, reach } from './reach.js';
import { relocate } from './relocate.js';

export interface LinkConnectorOptions {
  /** Name of the place that sends. */
  name: string;
  port: PipelinePort;
  /** Of the place, one for each device of its node; the first one is used until the target's address is known. */
  attachments: readonly Attachment[];
  /** Where this place listens, with the same devices in the same order. */
  address: () => PlaceAddress;
  poller: Poller;
  sizes: PlaceSizes;
  /** Pieces of streams that a link must be able to keep. */
  pieces: number;
  /** How many stages the workflow has. */
  stages: number;
  secret: string | Secret<string>;
  /** How long a target may not answer at its address, in ms. */
  reconnectMs: number;
  /** Where the inbox of a place is now; a promise while it has no process; throws when it is not known yet. */
  resolve: (target: string) => PlaceAddress | Promise<PlaceAddress>;
  /** See PlaceOptions. */
  flaw: string | undefined;
  /** A target has not answered for longer than `reconnectMs`, or refused for good. */
  onFailed: (target: string, reason: Error) => void;
  /** It goes by this device now, or says why by none. */
  onVia: (target: string) => void;
}

/** By which device a place reaches another one, for operators. */
export interface Via {
  readonly device: string;
  readonly why: string;
}

/** Why nobody needs the link any more; undefined: somebody does. */
export type Unwanted = () => string | undefined;

const wordsOf = ({ own, target }: Reach) => `${own} ${target.host}:${target.port}`;

export class LinkConnector {
  /** Once it has been connected. */
  link: Link | undefined;
  /** By which it is connected, or is being connected. */
  by: Attachment;
  /** undefined: it was never reached. */
  via: Via | undefined;
  private readonly options: LinkConnectorOptions;
  private readonly target: string;
  private readonly unwanted: Unwanted;
  private readonly away: AwayTime;
  private reached: Reach | undefined; // by the last address
  private moved: Attachment | undefined; // it has to go by this one instead
  private unreachable: RdmaError | undefined;
  private connectedTo = ''; // what choose() answered last
  private isWaiting = false; // for an address, to review the connection then

  constructor(options: LinkConnectorOptions, target: string, unwanted: Unwanted) {
    this.options = options;
    this.target = target;
    this.unwanted = unwanted;
    this.by = options.attachments[0]!;
    this.away = new AwayTime(() => options.port.clock.now(), options.reconnectMs);
  }

  /**
   * Connects.
   *
   * @param onMoved the target is elsewhere later, and is being connected to there; the promise never rejects
   * @throws RdmaError as Outbox.connect; RDMA_ERR_NO_DEVICE when no device reaches the target
   */
  async connect(onMoved: (moving: Promise<void>) => void): Promise<void> {
    const outbox = await this.open(onMoved);
    const { sizes, pieces, flaw } = this.options;
    this.link = new Link(outbox, sizes.residentRequests + pieces, flaw);
    this.review();
  }

  // By the device that reaches it; that may turn out to be another one than it was first.
  private async open(onMoved: (moving: Promise<void>) => void): Promise<Outbox> {
    for (;;) {
      try {
        return await this.openBy(this.by, onMoved);
      } catch (error) {
        const moved = this.takeMoved();
        if (moved === undefined) throw this.unwanted() === undefined ? (this.unreachable ?? error) : error;
        this.by = moved;
      }
    }
  }

  private openBy(by: Attachment, onMoved: (moving: Promise<void>) => void): Promise<Outbox> {
    const { name, port, poller, sizes, pieces, secret } = this.options;
    const { target } = this;
    return Outbox.connectOn(port, {
      to: () => this.find(),
      secret: placeSecret(secret, target),
      name,
      device: by.device as Device,
      poller,
      pool: by.pool,
      reconnectMs: MAX_TIMEOUT_MS, // `away` ends the attempts
      retryRefused: true,
      closeMs: 0, // what it holds is held upstream as well
      ...laneSizes(sizes, pieces),
      onAcknowledged: (sequence) => {
        if (this.by === by) this.link?.acknowledged(sequence);
      },
      onStall: ({ type }) => {
        if (type === 'flowing' && this.by === by) this.link?.flow();
      },
      onConnection: (event) => {
        if (event.type === 'open') this.opened();
        if (event.type === 'failed') this.lost(event.reason ?? new Error('unknown'), onMoved);
      },
    });
  }

  // Where to connect, by this device. RDMA_ERR_REFUSED ends the attempts.
  private find(): InboxAddress | Promise<InboxAddress> {
    const unwanted = this.unwanted();
    if (unwanted !== undefined) throw new RdmaError('RDMA_ERR_REFUSED', unwanted);
    let found: PlaceAddress | Promise<PlaceAddress>;
    try {
      found = this.away.find(() => this.options.resolve(this.target));
    } catch (error) {
      // It was there for so long, and no device reached it.
      if (this.unreachable === undefined || (error as RdmaError).code !== 'RDMA_ERR_REFUSED') throw error;
      throw new RdmaError('RDMA_ERR_REFUSED', this.unreachable.message, { cause: this.unreachable });
    }
    return found instanceof Promise ? found.then((address) => this.choose(address)) : this.choose(found);
  }

  private choose(address: PlaceAddress): InboxAddress {
    const { attachments } = this.options;
    let chosen: Reach;
    try {
      chosen = reach(this.options.address(), address, this.target);
    } catch (error) {
      this.unreachable = error as RdmaError;
      this.options.onVia(this.target);
      // The first time it is said at once; later the target may come back to where it was.
      if (this.link !== undefined) throw error;
      throw new RdmaError('RDMA_ERR_REFUSED', this.unreachable.message, { cause: error });
    }
    this.unreachable = undefined;
    this.reached = chosen;
    this.connectedTo = wordsOf(chosen);
    const by = attachments[chosen.own]!;
    if (by !== this.by) {
      this.moved = by;
      throw new RdmaError('RDMA_ERR_REFUSED', `${this.target} is reached by ${by.device.name} now`);
    }
    return { host: chosen.target.host, port: chosen.target.port };
  }

  /**
   * Looks whether the target is elsewhere by now, and connects there. What runs where it was need not have ended: its
   * machine may have lost its power, or be cut off, and then the connection says nothing.
   */
  review(): void {
    const { link } = this;
    if (this.isWaiting || link === undefined || link.isAway || link.isClosing || this.unwanted() !== undefined) return;
    try {
      const address = this.options.resolve(this.target);
      if (address instanceof Promise) {
        this.reviewAfter(address);
        return;
      }
      if (wordsOf(reach(this.options.address(), address, this.target)) === this.connectedTo) return;
    } catch {
      return; // it is not known where, or no device reaches it there: this connection is the only one
    }
    link.outbox.reconnect();
  }

  // While it has no process, the one before may still take what is sent.
  private reviewAfter(found: Promise<unknown>): void {
    this.isWaiting = true;
    const ended = (isKnown: boolean) => {
      this.isWaiting = false;
      if (isKnown) this.review();
    };
    found.then(
      () => ended(true),
      () => ended(false),
    );
  }

  private opened(): void {
    this.away.reached();
    const via = { device: this.by.device.name, why: this.reached!.why };
    const isNews = this.via?.device !== via.device || this.via.why !== via.why;
    this.via = via;
    if (isNews) this.options.onVia(this.target);
    // The target may have moved while this was being connected to where it was.
    queueMicrotask(() => this.review());
  }

  // The outbox has ended. While it is being connected for the first time, connect() says so.
  private lost(reason: Error, onMoved: (moving: Promise<void>) => void): void {
    const { link, target } = this;
    if (this.unwanted() !== undefined || link?.isAway === true) return;
    // At first connect() says that no device reaches it.
    if (link === undefined && (this.moved !== undefined || this.unreachable !== undefined)) return;
    const moved = this.takeMoved();
    if (link === undefined || moved === undefined) {
      this.options.onFailed(target, reason);
      return;
    }
    onMoved(
      this.move(link, moved, onMoved).catch((error) => {
        if (this.unwanted() === undefined) this.options.onFailed(target, error as Error);
      }),
    );
  }

  private takeMoved(): Attachment | undefined {
    const { moved } = this;
    this.moved = undefined;
    return moved;
  }

  private async move(link: Link, to: Attachment, onMoved: (moving: Promise<void>) => void): Promise<void> {
    this.bring(link, to);
    const before = link.outbox;
    // Its end is not waited for before others are tried: what it held is brought along.
    const closed = before.close();
    let outbox: Outbox;
    try {
      for (;;) {
        try {
          outbox = await this.openBy(this.by, onMoved);
          break;
        } catch (error) {
          const moved = this.takeMoved();
          if (moved === undefined || this.unwanted() !== undefined) throw error;
          this.bring(link, moved);
        }
      }
    } finally {
      await closed;
    }
    if (this.unwanted() !== undefined || link.isClosing) {
      await outbox.close();
      return;
    }
    link.arrived(outbox);
    this.review();
  }

  // Messages that the target has not acknowledged are rebuilt for another device.
  private bring(link: Link, to: Attachment): void {
    const { sizes, stages } = this.options;
    const from = this.by;
    this.by = to;
    link.leave((bytes) => relocate(bytes, from.pool, to.pool, sizes.inlineBytes, stages));
  }
}
