// The maker of connections of an outbox: it finds the inbox, reaches it, and negotiates a lane that takes the retained
// messages.
//
// Invariant: whatever fails on the way, nothing is left open, and every wait has a bound.
import { withDeadline } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import type { PortAddress } from '../verbs/index.js';
import type { Connection } from './connection.js';
import { tooLarge } from './size-limits.js';
import { negotiate } from './negotiation.js';
import type { OutboxEnd } from './outbox-end.js';
import type { InboxAddress, KeptOptions, OutboxSettings } from './outbox-options.js';
import type { PullMemory } from './pull-memory.js';
import type { PortCompletionQueue, PortDomain, RingPort } from './port.js';
import { Home, Phase, type RetainedMessages } from './retained-messages.js';

const HANDSHAKE_TIMEOUT_MS = 5000;
const SERVICE = 'onepiece-inbox';

/** Who connects, with what. */
export interface ConnectorParts {
  /** Of the outbox. */
  identity: string;
  options: KeptOptions;
  settings: OutboxSettings;
  port: RingPort;
  address: PortAddress;
  pd: PortDomain;
  /** What is mapped ends with it. */
  mappings: PortDomain;
  cq: PortCompletionQueue;
  sendDepth: number;
  retained: RetainedMessages;
  pullMemory: PullMemory;
  /** Aborted when the outbox is closed. */
  signal: AbortSignal;
  end: OutboxEnd;
}

export class Connector {
  private readonly parts: ConnectorParts;
  private hearsay = false;

  constructor(parts: ConnectorParts) {
    this.parts = parts;
  }

  /**
   * True when the last attempt failed before the peer had proved that it knows the secret, at a place where an
   * inbox was before, or may come (`retryRefused`): whoever is there now may be a stranger.
   */
  get isHearsay(): boolean {
    return this.hearsay;
  }

  /**
   * Connects once.
   *
   * @param lastInbox the inbox of the connection before this one; empty: there was none
   * @param begin gets a connection that is ready to send, in the turn in which it was checked: nothing can be taken
   *   in between
   * @throws RdmaError as {@link Outbox.connect}
   */
  async connect(lastInbox: string, begin: (connection: Connection) => void): Promise<void> {
    const { parts } = this;
    const { options, settings, port, address, signal } = parts;
    const { name, slots, dataBytes, inlineBytes, checksum } = settings;
    const { to, secret } = options;
    this.hearsay = false; // also what the user's function says is true
    const where = typeof to === 'function' ? await this.find(to) : to;
    this.hearsay = lastInbox !== '' || settings.retryRefused;
    const channel = await port.connect({
      host: where.host,
      port: where.port,
      secret: secret.reveal(),
      service: SERVICE,
      name,
      timeoutMs: HANDSHAKE_TIMEOUT_MS,
      signal,
    });
    this.hearsay = false;
    let connection: Connection | undefined;
    try {
      connection = await negotiate(channel, {
        identity: parts.identity,
        name,
        address,
        pd: parts.pd,
        mappings: parts.mappings,
        cq: parts.cq,
        retained: parts.retained,
        pullMemory: parts.pullMemory,
        slots,
        dataBytes,
        inlineBytes,
        inPlace: settings.inPlace && address.type === 'soft',
        checksum,
        sendDepth: parts.sendDepth,
        timeoutMs: HANDSHAKE_TIMEOUT_MS,
        signal,
        lastInbox,
      });
      if (parts.end.isEnded) throw parts.end.error();
      if (channel.closed) throw channel.error ?? new RdmaError('RDMA_ERR_PEER_GONE', 'the inbox went away');
      this.checkSizes(connection);
    } catch (error) {
      connection?.close();
      channel.destroy();
      throw error;
    }
    begin(connection);
  }

  // Where the inbox is now; a function of the user's may never answer.
  private find(to: () => InboxAddress | Promise<InboxAddress>): Promise<InboxAddress> {
    const { signal, port } = this.parts;
    return withDeadline(Promise.resolve().then(to), {
      timeoutMs: HANDSHAKE_TIMEOUT_MS,
      signal,
      late: `to() did not answer within ${HANDSHAKE_TIMEOUT_MS} ms`,
      aborted: 'the outbox is closed',
      timers: port.clock,
    });
  }

  // What is kept has to fit the new lane.
  private checkSizes(connection: Connection): void {
    const { retained } = this.parts;
    const { dataBytes, maxPullBytes } = connection.lane;
    for (let sequence = connection.sent + 1; sequence <= retained.last; sequence++) {
      const isPulled = retained.homeOf(sequence) === Home.PAYLOAD;
      const isOpen = retained.phaseOf(sequence) === Phase.OPEN;
      const length = isOpen && !isPulled ? retained.spaceOf(sequence) : retained.lengthOf(sequence);
      const room = isPulled ? maxPullBytes : dataBytes;
      if (length <= room) continue;
      const limit = isPulled ? 'maxPullBytes' : 'maxDataBytes';
      throw tooLarge(length, room, `raise ${limit} of the inbox: it was larger when the message was taken`);
    }
  }
}
