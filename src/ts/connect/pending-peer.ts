// Invariant: a connection whose handshake is in progress ends in exactly one of two ways, within the handshake's time:
// it becomes a channel, or it is rejected for one reason and its socket is destroyed.

import type { Socket } from 'node:net';
import { isRdmaError, RdmaError } from '../core/errors.js';
import { BootstrapChannel, LINGER_MS } from './channel.js';
import { FrameParser } from './frame-parser.js';
import { type HandshakeOptions, ServerHandshake } from './handshake.js';
import type { PendingMember } from './pending-pool.js';
import { peerGone, type SocketAddress } from './socket-error.js';

/**
 * Why a connection did not become a peer: it gave way, as too many handshakes were in progress; too slow; not this
 * protocol; no common version; no proof of the secret; another service; too many peers; it went away; another user's
 * process at the local socket; no certificate of this cluster, or no TLS; `onPeer` threw; the server closed.
 */
export type RejectionReason =
  | 'full'
  | 'timeout'
  | 'protocol'
  | 'version'
  | 'unauthenticated'
  | 'service'
  | 'busy'
  | 'disconnected'
  | 'user'
  | 'tls'
  | 'handler'
  | 'closed';

/** What the server wants to hear of a handshake. */
export interface PendingPeerEvents {
  /** Called once the client is authenticated; an error that it returns still refuses the client. */
  admit(): RdmaError | undefined;
  /** The client has said hello, and was understood. */
  onGreeted(): void;
  onChannel(channel: BootstrapChannel): void;
  onRejected(reason: RejectionReason, error: RdmaError): void;
  /** The socket of a rejected connection is gone. */
  onGone(): void;
}

const REASONS: Readonly<Record<string, RejectionReason>> = {
  RDMA_ERR_VERSION: 'version',
  RDMA_ERR_UNAUTHENTICATED: 'unauthenticated',
  RDMA_ERR_REFUSED: 'service',
  RDMA_ERR_BUSY: 'busy',
};

/** The server's side of one handshake. */
export class PendingPeer implements PendingMember {
  readonly remoteAddress: SocketAddress;
  private readonly socket: Socket;
  private readonly events: PendingPeerEvents;
  private readonly handshake: ServerHandshake;
  private readonly parser = new FrameParser();
  private timer: NodeJS.Timeout;
  private channel: BootstrapChannel | undefined;
  private settled = false;

  /**
   * @param socket a connection just accepted
   * @param remoteAddress where it comes from
   * @param options secret, service, name, and how long the handshake may take
   * @param events called as the handshake goes; exactly one of onChannel and onRejected is called
   */
  constructor(
    socket: Socket,
    remoteAddress: SocketAddress,
    options: HandshakeOptions & { handshakeTimeoutMs: number },
    events: PendingPeerEvents,
  ) {
    this.remoteAddress = remoteAddress;
    this.socket = socket;
    this.events = events;
    this.handshake = new ServerHandshake(options);
    const { handshakeTimeoutMs } = options;
    this.timer = setTimeout(() => {
      const words = `the client did not complete the handshake within ${handshakeTimeoutMs} ms`;
      this.reject('timeout', new RdmaError('RDMA_ERR_TIMEOUT', words));
    }, handshakeTimeoutMs);
    socket.on('data', this.onData);
    socket.on('end', this.onEnd);
    socket.on('error', this.onError);
    socket.on('close', this.onClose);
  }

  /** Gives the handshake up because the server closes. */
  abandon(): void {
    this.reject('closed', new RdmaError('RDMA_ERR_CLOSED', 'the server closed during the handshake'));
    this.socket.destroy();
  }

  /** Gives the handshake up because TLS says that the client does not belong here. */
  distrust(error: RdmaError): void {
    this.reject('tls', error);
    this.socket.destroy();
  }

  /** Gives the handshake up because a newcomer needs its place. */
  giveWay(): void {
    const words = 'too many handshakes were in progress, and this one was the idlest of the source that had most';
    this.reject('full', new RdmaError('RDMA_ERR_BUSY', words));
    this.socket.destroy();
  }

  private readonly onData = (chunk: Buffer): void => {
    if (this.settled) return;
    try {
      this.parser.push(chunk, (frame) => {
        if (this.channel !== undefined) {
          this.channel.acceptFrame(frame);
          return;
        }
        const { send, session } = this.handshake.onFrame(frame, () => this.events.admit());
        if (send !== undefined) this.socket.write(send);
        if (session === undefined) {
          this.events.onGreeted();
          return;
        }
        this.letGo();
        const { remoteAddress } = this;
        this.channel = new BootstrapChannel({ socket: this.socket, parser: this.parser, session, remoteAddress });
        this.events.onChannel(this.channel);
      });
    } catch (error) {
      this.onFailure(
        isRdmaError(error) ? error : new RdmaError('RDMA_ERR_HANDSHAKE', 'the handshake failed', { cause: error }),
      );
    }
  };

  private onFailure(error: RdmaError): void {
    if (this.channel !== undefined) this.channel.fail(error);
    else this.reject(REASONS[error.code] ?? 'protocol', error, this.handshake.refusal(error));
  }

  private readonly onEnd = (): void => this.reject('disconnected', peerGone());

  private readonly onError = (error: Error): void => {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!('encrypted' in this.socket) || !code.startsWith('ERR_SSL')) {
      this.reject('disconnected', peerGone(error));
      return;
    }
    this.distrust(new RdmaError('RDMA_ERR_HANDSHAKE', 'a client does not speak TLS 1.3, or left it', { cause: error }));
  };

  private readonly onClose = (): void => {
    clearTimeout(this.timer);
    this.reject('disconnected', peerGone());
    this.events.onGone();
  };

  /** With last words, the socket lives until they are sent, but no longer than the linger time. */
  private reject(reason: RejectionReason, error: RdmaError, lastWords?: Buffer): void {
    if (this.settled) return;
    this.settled = true;
    clearTimeout(this.timer);
    if (lastWords === undefined || this.socket.destroyed) {
      this.socket.destroy();
    } else {
      this.timer = setTimeout(() => this.socket.destroy(), LINGER_MS);
      this.socket.end(lastWords, () => this.socket.destroy());
    }
    this.events.onRejected(reason, error);
  }

  private letGo(): void {
    this.settled = true;
    clearTimeout(this.timer);
    this.socket.off('data', this.onData);
    this.socket.off('end', this.onEnd);
    this.socket.off('error', this.onError);
    this.socket.off('close', this.onClose);
  }
}
