// Invariant: connectBootstrap ends in exactly one of two ways: with an authenticated channel, or with an error and no
// socket, timer or listener left behind. The local socket is tried first, and whatever is wrong with it before the
// handshake leads to TCP.

import net from 'node:net';
import { abortError, MAX_TIMEOUT_MS, watchDeadline } from '../core/deadline.js';
import { isRdmaError, RdmaError } from '../core/errors.js';
import { checkAbortSignal, checkInteger, checkObject, checkString } from '../core/validate.js';
import { BootstrapChannel } from './channel.js';
import { toSecretBytes } from './credentials.js';
import { FrameParser } from './frame-parser.js';
import { ClientHandshake } from './handshake.js';
import { isSameUser, localName } from './local-socket.js';
import { checkHandshakeText, DEFAULT_SERVICE, SOCKET_OPTIONS } from './settings.js';
import { checkTls, type TlsIdentity, tlsFailure } from './tls-identity.js';
import { connectError, type SocketAddress } from './socket-error.js';

const DEFAULT_TIMEOUT_MS = 5000;

/** How to reach a bootstrap server. */
export interface ConnectBootstrapOptions {
  /** Host name or IP address; `127.0.0.1` unless given. */
  host?: string | undefined;
  /** TCP port, from 1 to 65535. */
  port: number;
  /** The shared secret: a string or bytes, from 8 to 4096 bytes; random ones are best. */
  secret: string | ArrayBuffer | ArrayBufferView;
  /** By TCP it speaks TLS 1.3, and both sides prove that they belong to the cluster; default: no TLS. */
  tls?: TlsIdentity | undefined;
  /** The service that must be at the other end; at most 255 bytes. */
  service?: string | undefined;
  /** The name of this side, for the server; at most 255 bytes; `pid-<number>` unless given. */
  name?: string | undefined;
  /** How long connecting and authenticating may take together, from 1 to 2^31 - 1 ms; 5000 unless given. */
  timeoutMs?: number | undefined;
  /** Gives up when aborted. Once the channel is there, the signal means nothing to it. */
  signal?: AbortSignal | undefined;
}

/**
 * Connects to a BootstrapServer and authenticates both sides to each other; by its local socket when it runs on this
 * host and belongs to this user, else by TCP.
 *
 * @param options where, with what secret, as whom, and for how long
 * @returns the channel; rejects with RDMA_ERR_INVALID_ARGUMENT; the system's code (ECONNREFUSED, ENOTFOUND...);
 * RDMA_ERR_UNAUTHENTICATED when the secrets differ; RDMA_ERR_VERSION; RDMA_ERR_REFUSED when this is another service;
 * RDMA_ERR_BUSY when the server is full; RDMA_ERR_HANDSHAKE when the server hung up; RDMA_ERR_PROTOCOL when it speaks
 * something else; RDMA_ERR_TIMEOUT; RDMA_ERR_ABORTED
 */
export async function connectBootstrap(options: ConnectBootstrapOptions): Promise<BootstrapChannel> {
  checkObject('options', options);
  const { host = '127.0.0.1', timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const { service = DEFAULT_SERVICE, name = `pid-${process.pid}` } = options;
  checkString('host', host, { minLength: 1, maxLength: 255 });
  const port = checkInteger('port', options.port, 1, 65535);
  checkInteger('timeoutMs', timeoutMs, 1, MAX_TIMEOUT_MS);
  checkHandshakeText('service', service);
  checkHandshakeText('name', name);
  const signal = checkAbortSignal('signal', options.signal);
  const handshake = new ClientHandshake({ secret: toSecretBytes('secret', options.secret), service, name });
  const tls = checkTls(options.tls);
  if (signal?.aborted === true) throw abortError(signal);
  return new Promise((resolve, reject) => {
    new Attempt({ host, port }, handshake, tls, timeoutMs, signal, resolve, reject);
  });
}

/** One try to connect; it settles once and then lets go of everything. */
class Attempt {
  private socket: net.Socket;
  private readonly parser = new FrameParser();
  private readonly leave: () => void;
  private isLocal = false;
  private connected = false;
  private channel: BootstrapChannel | undefined;
  private settled = false;

  constructor(
    readonly address: SocketAddress,
    readonly handshake: ClientHandshake,
    readonly tls: TlsIdentity | undefined,
    readonly timeoutMs: number,
    signal: AbortSignal | undefined,
    readonly resolve: (channel: BootstrapChannel) => void,
    readonly reject: (error: RdmaError) => void,
  ) {
    this.leave = watchDeadline({ timeoutMs, signal, late: () => this.late() }, (error) => this.fail(error));
    const path = localName(address);
    if (path === undefined) {
      this.socket = this.reach();
      return;
    }
    this.isLocal = true;
    this.socket = this.listenTo(net.connect({ path, ...SOCKET_OPTIONS }));
  }

  private reach(): net.Socket {
    const { address, tls } = this;
    const { host, port } = address;
    return this.listenTo(tls?.connect(address) ?? net.connect({ host, port, ...SOCKET_OPTIONS }));
  }

  private listenTo(socket: net.Socket): net.Socket {
    // By TLS it is the server that says nothing before it has proved who it is.
    socket.on(this.isLocal || this.tls === undefined ? 'connect' : 'secureConnect', this.onConnect);
    socket.on('data', this.onData);
    socket.on('error', this.onError);
    socket.on('end', this.onHangUp);
    socket.on('close', this.onHangUp);
    return socket;
  }

  /** The local socket is not there, or not this user's. */
  private turnToTcp(): void {
    this.isLocal = false;
    this.ignore();
    this.socket.destroy();
    this.socket = this.reach();
  }

  private readonly onConnect = (): void => {
    if (this.isLocal && !isSameUser(this.socket)) {
      this.turnToTcp();
      return;
    }
    this.connected = true;
    this.socket.write(this.handshake.hello);
  };

  private readonly onData = (chunk: Buffer): void => {
    try {
      this.parser.push(chunk, (frame) => {
        if (this.channel !== undefined) {
          this.channel.acceptFrame(frame);
          return;
        }
        const { send, session } = this.handshake.onFrame(frame);
        if (send !== undefined) this.socket.write(send);
        if (session === undefined) return;
        this.letGo();
        const remoteAddress = this.isLocal ? this.address : addressOf(this.socket);
        this.channel = new BootstrapChannel({ socket: this.socket, parser: this.parser, session, remoteAddress });
        this.resolve(this.channel);
      });
    } catch (error) {
      const failure = isRdmaError(error)
        ? error
        : new RdmaError('RDMA_ERR_HANDSHAKE', 'the handshake failed', { cause: error });
      if (this.channel === undefined) this.fail(failure);
      else this.channel.fail(failure);
    }
  };

  private readonly onError = (error: Error): void => {
    const distrust = this.isLocal || this.tls === undefined ? undefined : tlsFailure(error, this.address);
    if (distrust !== undefined) this.fail(distrust);
    else if (this.connected) this.onHangUp(error);
    else if (this.isLocal) this.turnToTcp();
    else this.fail(connectError(error, this.address));
  };

  private readonly onHangUp = (cause?: unknown): void => {
    const { host, port } = this.address;
    this.fail(
      new RdmaError('RDMA_ERR_HANDSHAKE', `${host}:${port} hung up during the handshake`, {
        remedy: 'check that a bootstrap server listens there, with TLS on both sides or none, and is not flooded',
        ...(cause instanceof Error ? { cause } : {}),
      }),
    );
  };

  private late(): string {
    const { host, port } = this.address;
    const stage = this.connected ? 'did not complete the handshake' : 'did not answer';
    return `${host}:${port} ${stage} within ${this.timeoutMs} ms`;
  }

  private fail(error: RdmaError): void {
    if (this.settled) return;
    this.letGo();
    this.ignore();
    this.socket.destroy();
    this.reject(error);
  }

  private letGo(): void {
    this.settled = true;
    this.leave();
    this.stopListening();
  }

  /** A socket that is being destroyed may still report an error, which is no news any more. */
  private ignore(): void {
    this.stopListening();
    this.socket.on('error', () => undefined);
  }

  private stopListening(): void {
    this.socket.off('connect', this.onConnect);
    this.socket.off('secureConnect', this.onConnect);
    this.socket.off('data', this.onData);
    this.socket.off('error', this.onError);
    this.socket.off('end', this.onHangUp);
    this.socket.off('close', this.onHangUp);
  }
}

function addressOf(socket: net.Socket): SocketAddress {
  return { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
}
