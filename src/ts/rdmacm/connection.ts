// An established connection: a queue pair of ours and the id that brought it there.
//
// Invariant: it ends once, with one reason; the queue pair is then in the ERROR state, so that everything outstanding
// completes as FLUSHED and can be polled until close().
import { EventEmitter } from 'node:events';
import { isRdmaError } from '../core/errors.js';
import { QpState } from '../addon/constants.js';
import type { QueuePair } from '../verbs/queue-pair.js';
import { tolerate } from './cm-errors.js';
import type { CmEventChannel } from './cm-event-channel.js';
import type { PeerParameters } from './cm-events.js';
import type { ConnectionId, IdEvent } from './connection-id.js';
import type { WaitOptions } from '../verbs/operation.js';
import { Deadline } from '../core/deadline.js';
import type { CmSocketAddress } from './socket-address.js';

/** Who ended a connection. */
export type EndReason = 'local' | 'peer' | 'device-removed';

/** The events of a {@link Connection}. */
export interface ConnectionEvents {
  /** The connection has ended, whoever ended it. */
  disconnected: [reason: EndReason];
  /** The RDMA device is going away: close everything that was made from it. `disconnected` follows. */
  'device-removed': [];
}

/** What of the connection's id is remembered. */
export interface ConnectionInfo {
  /** The device that it goes over, as listDevices() shows it. */
  deviceName: string;
  /** The port of the device, from 1. */
  devicePort: number;
  /** This side's address; undefined when the kernel does not say it. */
  localAddress: CmSocketAddress | undefined;
  /** The peer's address; undefined when the kernel does not say it. */
  peerAddress: CmSocketAddress | undefined;
}

const DISCONNECT_MS = 5000;

/** Made by {@link connect} and {@link ConnectionRequest.accept}. It keeps the process alive until it has ended. */
export class Connection extends EventEmitter<ConnectionEvents> implements Disposable, AsyncDisposable, ConnectionInfo {
  readonly deviceName: string;
  readonly devicePort: number;
  readonly localAddress: CmSocketAddress | undefined;
  readonly peerAddress: CmSocketAddress | undefined;
  /** Settles when the connection has ended; never rejects. */
  readonly closed: Promise<EndReason>;
  private settle: (reason: EndReason) => void = () => undefined;
  private reason: EndReason | undefined;
  private disconnecting = false;
  private holding: CmEventChannel | undefined;

  /** @internal Takes over `id` and `queuePair`, which are connected. */
  constructor(
    private readonly id: ConnectionId,
    /** Ready to send. Closed by close(). */
    readonly queuePair: QueuePair,
    /** What the peer's program sent along, filled up with zeros (see {@link CmEvent.privateData}). */
    readonly privateData: Uint8Array,
    /** What the peer's side offered, where the event said so. */
    readonly peerParameters: PeerParameters | undefined,
  ) {
    super();
    this.deviceName = id.deviceName;
    this.devicePort = id.devicePort;
    this.localAddress = id.localAddress;
    this.peerAddress = id.peerAddress;
    this.closed = new Promise((resolve) => {
      this.settle = resolve;
    });
    this.holding = id.channel;
    this.holding.hold();
    id.onClose = () => this.end('local');
    id.onEvent = (event) => this.receive(event);
  }

  /** Whether it has ended. */
  get ended(): boolean {
    return this.reason !== undefined;
  }

  private receive(event: IdEvent): void {
    if (event.name === 'DISCONNECTED') {
      const byPeer = !this.disconnecting;
      this.toError();
      // The peer's end wants an answer; that it has gone meanwhile is no news.
      if (byPeer) tolerate(() => this.id.disconnect());
      this.end(byPeer ? 'peer' : 'local');
    } else if (event.name === 'DEVICE_REMOVAL') {
      try {
        this.emit('device-removed');
      } finally {
        this.end('device-removed');
      }
    }
  }

  private toError(): void {
    if (!this.queuePair.closed) tolerate(() => this.queuePair.modify({ state: QpState.ERROR }));
  }

  private end(reason: EndReason): void {
    if (this.reason !== undefined) return;
    this.reason = reason;
    this.holding?.release();
    this.holding = undefined;
    this.settle(reason);
    this.emit('disconnected', reason);
  }

  /** Lets the process end although the connection has not; it does not otherwise. */
  unref(): void {
    this.holding?.release();
    this.holding = undefined;
  }

  /**
   * Ends the connection and waits until the peer has answered. A second call waits for the same.
   *
   * @param options default 5 s: a peer that is gone never answers. The connection has ended here anyway.
   * @throws RdmaError RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
   * @see rdma_disconnect(3)
   */
  async disconnect(options: WaitOptions = {}): Promise<void> {
    const deadline = new Deadline({ timeoutMs: DISCONNECT_MS, ...options }, 'disconnecting');
    if (this.reason !== undefined) return;
    if (!this.disconnecting) {
      this.disconnecting = true;
      this.toError();
      this.id.disconnect();
    }
    try {
      await deadline.wait(this.closed);
    } catch (error) {
      this.end('local');
      throw error;
    }
  }

  /** Closes the queue pair and the id; ends the connection if it has not ended. A second call does nothing. */
  close(): void {
    this.queuePair.close();
    this.id.close();
  }

  /** As close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** As disconnect(), and then close() whatever came of it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.disconnect();
    } catch (error) {
      if (!isRdmaError(error)) throw error;
    } finally {
      this.close();
    }
  }
}
