// The outboxes from one place to all places that it sends to.
//
// Invariant: a message goes to every target or the place fails; its inputs are settled when all have acknowledged it.
// After close() there is no outbox left, not even one whose connecting was under way.
import type { Device } from '../verbs/index.js';
import { RdmaError } from '../core/errors.js';
import { type InboxAddress, Outbox } from '../ring/index.js';
import type { Joined } from './join.js';
import { laneSizes, placeSecret } from './lane-sizes.js';

export interface LinkOptions {
  name: string;
  device: Device;
  secret: string;
  maxBytes: number;
  maxInFlight: number;
  reconnectMs: number;
  /** Where the inbox is now; throws when it is not known yet. */
  resolve: (target: string) => InboxAddress;
  /** All sends of a request were acknowledged. */
  onSettled: (joined: Joined) => void;
  /** A target was away for longer than `reconnectMs`. */
  onFailed: (target: string, reason: Error) => void;
}

// `waiting`: what was sent and not acknowledged, by sequence.
interface Link {
  outbox: Outbox;
  waiting: { sequence: number; joined: Joined }[];
}

export class Links {
  private readonly options: LinkOptions;
  private readonly links = new Map<string, Link>();
  private readonly connecting: Promise<void>[] = [];
  private closed = false;

  constructor(options: LinkOptions) {
    this.options = options;
  }

  /** Connects to every target; each is `stage/instance`. */
  async connect(targets: readonly string[]): Promise<void> {
    this.connecting.push(...targets.map((target) => this.connectTo(target)));
    await Promise.all(this.connecting);
  }

  private async connectTo(target: string): Promise<void> {
    const { name, device, secret, maxBytes, maxInFlight, reconnectMs, resolve } = this.options;
    const waiting: Link['waiting'] = [];
    const outbox = await Outbox.connect({
      to: () => {
        // This code ends the attempts.
        if (this.closed) throw new RdmaError('RDMA_ERR_REFUSED', 'the sender is being closed');
        return resolve(target);
      },
      secret: placeSecret(secret, target),
      name,
      device,
      reconnectMs,
      ...laneSizes(maxBytes, maxInFlight),
      onAcknowledged: (sequence) => this.acknowledged(waiting, sequence),
      onConnection: (event) => {
        if (event.type === 'failed') this.options.onFailed(target, event.reason ?? new Error('unknown'));
      },
    });
    this.links.set(target, { outbox, waiting });
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'closed while connecting');
  }

  /**
   * Sends one message to several targets. `onSettled` follows when all have acknowledged it.
   *
   * @param pieces at most maxMessageBytes(); every target has room for that
   * @throws RdmaError the error of an outbox that has failed
   */
  async send(joined: Joined, targets: readonly string[], pieces: readonly Uint8Array[]): Promise<void> {
    joined.outstanding += targets.length;
    for (const target of targets) {
      const link = this.links.get(target);
      if (link === undefined) throw new Error(`no link to ${target}`);
      const sequence = await link.outbox.send(pieces);
      let at = link.waiting.length;
      while (at > 0 && link.waiting[at - 1]!.sequence > sequence) at--;
      link.waiting.splice(at, 0, { sequence, joined });
      // The acknowledgement may have come before this turn.
      this.acknowledged(link.waiting, link.outbox.acknowledged);
    }
  }

  private acknowledged(waiting: Link['waiting'], sequence: number): void {
    for (let first = waiting[0]; first !== undefined && first.sequence <= sequence; first = waiting[0]) {
      waiting.shift();
      if (--first.joined.outstanding === 0) this.options.onSettled(first.joined);
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.allSettled(this.connecting);
    await Promise.all([...this.links.values()].map((link) => link.outbox.close()));
  }
}
