// The outboxes from one place to all places that it sends to.
//
// Invariant: a lane holds two messages of the largest size, and an outbox retains as many as the proxy lets in, so
// sending never waits for a message that itself waits for this one.
import type { Device } from '../verbs/index.js';
import { type InboxAddress, Outbox } from '../ring/index.js';
import type { Joined } from './join.js';

/** Bytes of a message besides its tensors: head and padding. */
export const HEAD_ALLOWANCE_BYTES = 256 * 1024;
const MAX_LANE_BYTES = 2 ** 31 - 64;

/** Lane sizes for messages of up to `maxBytes` of tensors, with `maxInFlight` requests under way. */
export function laneSizes(maxBytes: number, maxInFlight: number) {
  const message = maxBytes + HEAD_ALLOWANCE_BYTES;
  return {
    slots: Math.min(4095, 2 * maxInFlight + 2),
    dataBytes: Math.min(MAX_LANE_BYTES, 2 * message),
    retainMessages: maxInFlight + 1,
    // One more, for what is skipped where the ring ends.
    retainBytes: (maxInFlight + 1) * message,
  };
}

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

  constructor(options: LinkOptions) {
    this.options = options;
  }

  /** Connects to every target; each is `stage/instance`. */
  async connect(targets: readonly string[]): Promise<void> {
    await Promise.all(targets.map((target) => this.connectTo(target)));
  }

  private async connectTo(target: string): Promise<void> {
    const { name, device, secret, maxBytes, maxInFlight, reconnectMs, resolve } = this.options;
    const waiting: Link['waiting'] = [];
    const outbox = await Outbox.connect({
      to: () => resolve(target),
      secret,
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
  }

  /**
   * Sends one message to several targets. `onSettled` follows when all have acknowledged it.
   *
   * @throws RdmaError RDMA_ERR_MESSAGE_TOO_LARGE before anything was sent; the error of an outbox that has failed
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

  /** The largest message, in bytes, that every target takes. */
  get maxMessageBytes(): number {
    return Math.min(...[...this.links.values()].map((link) => link.outbox.maxMessageBytes));
  }

  async close(): Promise<void> {
    await Promise.all([...this.links.values()].map((link) => link.outbox.close()));
  }
}
