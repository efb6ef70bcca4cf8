// Invariant: a stranger costs at most one socket, one timer and about 1 KiB, for at most the handshake's time, and at
// most `maxPending` strangers are in at once; one more displaces one of them, and never anybody of a smaller source
// (see pending-pool.ts). Only peers that know the secret ever reach `onPeer`.

import net from 'node:net';
import { types } from 'node:util';
import { MAX_TIMEOUT_MS } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import { checkFunction, checkInteger, checkObject, checkString } from '../core/validate.js';
import type { BootstrapChannel } from './channel.js';
import { toSecretBytes } from './credentials.js';
import { listenLocally } from './local-socket.js';
import { PendingPeer, type RejectionReason } from './pending-peer.js';
import { PendingPool, sourceOf } from './pending-pool.js';
import { checkHandshakeText, DEFAULT_SERVICE, SOCKET_OPTIONS } from './settings.js';
import { checkTls, type TlsIdentity } from './tls-identity.js';
import { listenError, type SocketAddress } from './socket-error.js';

const DEFAULT_PENDING = 512;
const DEFAULT_HANDSHAKE_MS = 30_000;
/**
 * Connections that wait to be accepted. All that wait are accepted in one turn of the event loop, so more would hold it
 * for longer in a flood; with fewer, clients that start at once would be dropped, and try again after a second.
 */
const BACKLOG = 512;
/** The source of all who come by the local socket: processes of this user. */
const LOCAL_SOURCE = 'local';

/** Why a connection did not become a peer. */
export interface Rejection {
  readonly reason: RejectionReason;
  readonly remoteAddress: SocketAddress;
  readonly error: RdmaError;
}

/** How a bootstrap server listens. */
export interface BootstrapServerOptions {
  /** The address to listen on; `127.0.0.1` unless given, so that other hosts are let in only on request. */
  host?: string | undefined;
  /** TCP port, from 0 to 65535; 0, which lets the system choose, unless given. */
  port?: number | undefined;
  /** The shared secret: a string or bytes, from 8 to 4096 bytes; random ones are best. */
  secret: string | ArrayBuffer | ArrayBufferView;
  /** The service offered here; at most 255 bytes. A client that asks for another is refused. */
  service?: string | undefined;
  /** The name of this side, for clients; at most 255 bytes; the service unless given. */
  name?: string | undefined;
  /** Clients that come by TCP speak TLS 1.3 and prove that they belong to the cluster; default: no TLS. */
  tls?: TlsIdentity | undefined;
  /**
   * Called with each authenticated peer; set the channel's handlers in it. What it throws, or rejects with, ends that
   * channel with an RDMA_ERR_HANDLER error.
   */
  onPeer: (channel: BootstrapChannel) => void;
  /**
   * How long a whole handshake may take, from 1 to 2^31 - 1 ms; 30 000 unless given. Not short: hundreds of clients
   * that start at once on few processors need seconds, and strangers are not kept out by it, but by `maxPending`.
   */
  handshakeTimeoutMs?: number | undefined;
  /**
   * Most handshakes in progress, from 1 to 65536; 512 unless given. A further one takes the place of the idlest one of
   * the address that has most, so it is to be larger than the number of clients that start at once.
   */
  maxPending?: number | undefined;
  /** Most peers connected, from 1 to 1048576; 4096 unless given. */
  maxPeers?: number | undefined;
  /** Called, soon after, with each connection that did not become a peer, and each whose `onPeer` failed. */
  onRejected?: ((rejection: Rejection) => void) | undefined;
}

/** What a server has counted since it began to listen. A peer whose `onPeer` failed is counted on both sides. */
export interface BootstrapCounters {
  readonly accepted: number;
  readonly rejected: number;
  readonly rejectedByReason: Readonly<Record<RejectionReason, number>>;
}

/** The options after their checks, with defaults filled in. */
interface Settings {
  readonly secret: Buffer;
  readonly service: string;
  readonly name: string;
  readonly onPeer: (channel: BootstrapChannel) => unknown;
  readonly handshakeTimeoutMs: number;
  readonly maxPending: number;
  readonly maxPeers: number;
  readonly onRejected: ((rejection: Rejection) => void) | undefined;
  readonly tls: TlsIdentity | undefined;
}

/** Listens for peers that know the secret. */
export class BootstrapServer {
  /** Where it listens; the port is the one the system chose when 0 was asked for. */
  readonly address: SocketAddress;
  readonly #server: net.Server;
  readonly #settings: Settings;
  readonly #pending: PendingPool<PendingPeer>;
  readonly #peers = new Set<BootstrapChannel>();
  readonly #byReason: Record<RejectionReason, number> = {
    full: 0,
    timeout: 0,
    protocol: 0,
    version: 0,
    unauthenticated: 0,
    service: 0,
    busy: 0,
    disconnected: 0,
    user: 0,
    tls: 0,
    handler: 0,
    closed: 0,
  };
  #accepted = 0;
  #closing: Promise<void> | undefined;
  #local: net.Server | undefined;

  private constructor(server: net.Server, address: SocketAddress, settings: Settings) {
    this.#server = server;
    this.address = address;
    this.#settings = settings;
    this.#pending = new PendingPool(settings.maxPending);
    server.on('connection', (socket: net.Socket) => {
      const { remoteAddress: host = '', remotePort: port = 0 } = socket;
      this.#onConnection(socket, { host, port }, sourceOf(host));
    });
    // After listening, Node reports here only what concerns a connection it could not accept; the listener stays.
    server.on('error', () => undefined);
  }

  /**
   * Begins to listen.
   *
   * @param options where, with what secret, and for whom
   * @returns the server; rejects with RDMA_ERR_INVALID_ARGUMENT, or the system's code (EADDRINUSE, EACCES...) with a
   * remedy
   */
  static async listen(options: BootstrapServerOptions): Promise<BootstrapServer> {
    checkObject('options', options);
    const settings = readSettings(options);
    const host = checkString('host', options.host ?? '127.0.0.1', { minLength: 1, maxLength: 255 });
    const port = checkInteger('port', options.port ?? 0, 0, 65535);
    const server = net.createServer(SOCKET_OPTIONS);
    return new Promise((resolve, reject) => {
      const onError = (error: Error): void => reject(listenError(error, { host, port }));
      server.once('error', onError);
      server.listen({ host, port, exclusive: true, backlog: BACKLOG }, () => {
        server.off('error', onError);
        const bound = server.address() as net.AddressInfo;
        const started = new BootstrapServer(server, { host: bound.address, port: bound.port }, settings);
        void started.#listenLocally().then(() => resolve(started));
      });
    });
  }

  /** Processes of this user on this host need not stand in line with everybody who can reach the port. */
  async #listenLocally(): Promise<void> {
    const remoteAddress = { host: this.address.host, port: 0 };
    this.#local = await listenLocally(
      this.address,
      (socket) => this.#onConnection(socket, remoteAddress, LOCAL_SOURCE),
      () => {
        const error = new RdmaError('RDMA_ERR_REFUSED', 'a process of another user came by the local socket');
        this.#reject({ reason: 'user', remoteAddress, error });
      },
    );
  }

  /** True when processes of the same user and host come in by a local socket that others cannot crowd. */
  get hasLocalSocket(): boolean {
    return this.#local !== undefined;
  }

  /** What was counted so far: peers accepted, and connections rejected by reason. */
  get counters(): BootstrapCounters {
    const rejectedByReason = { ...this.#byReason };
    const rejected = Object.values(rejectedByReason).reduce((sum, count) => sum + count, 0);
    return { accepted: this.#accepted, rejected, rejectedByReason };
  }

  /** How many handshakes are in progress. */
  get pending(): number {
    return this.#pending.size;
  }

  /** How many peers are connected. */
  get peers(): number {
    return this.#peers.size;
  }

  /**
   * Stops listening, destroys the connections whose handshake is in progress, and closes every channel: each peer gets
   * a goodbye and has 1 s to end too. Calling it again returns the same promise.
   *
   * @returns when every socket is gone; never rejects
   */
  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      const tcp = new Promise<void>((closed) => this.#server.close(() => closed()));
      const local = new Promise<void>((closed) => {
        if (this.#local === undefined) closed();
        else this.#local.close(() => closed());
      });
      void Promise.all([tcp, local]).then(() => resolve());
      for (const pending of this.#pending.members()) pending.abandon();
      for (const channel of this.#peers) channel.close();
    });
    return this.#closing;
  }

  /** As `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Lets the listener keep the process running, as it does unless told otherwise. Returns the server. */
  ref(): this {
    this.#server.ref();
    this.#local?.ref();
    return this;
  }

  /** Lets the process exit although the listener is open; channels have their own `unref`. Returns the server. */
  unref(): this {
    this.#server.unref();
    this.#local?.unref();
    return this;
  }

  #onConnection(raw: net.Socket, remoteAddress: SocketAddress, source: string): void {
    const { maxPeers, tls } = this.#settings;
    // The kernel says who is at the other end of the local socket, and nobody else sees what goes through it.
    const secured = tls === undefined || source === LOCAL_SOURCE ? undefined : tls.accept(raw);
    const socket = secured ?? raw;
    const pending: PendingPeer = new PendingPeer(socket, remoteAddress, this.#settings, {
      admit: () =>
        this.#peers.size < maxPeers
          ? undefined
          : new RdmaError('RDMA_ERR_BUSY', `${maxPeers} peers are connected already`),
      onGreeted: () => this.#pending.progress(pending),
      onChannel: (channel) => {
        this.#pending.remove(pending);
        this.#peers.add(channel);
        socket.once('close', () => this.#peers.delete(channel));
        this.#accepted += 1;
        this.#introduce(channel);
      },
      onRejected: (reason, error) => this.#reject({ reason, remoteAddress, error }),
      onGone: () => this.#pending.remove(pending),
    });
    this.#pending.add(pending, source);
    if (secured === undefined) return;
    secured.once('secure', () => {
      const problem = tls!.check(secured);
      if (problem !== undefined) pending.distrust(problem);
    });
  }

  #introduce(channel: BootstrapChannel): void {
    const fail = (cause: unknown): void => {
      const error = new RdmaError('RDMA_ERR_HANDLER', 'the onPeer handler threw', { cause });
      channel.destroy(error);
      this.#reject({ reason: 'handler', remoteAddress: channel.remoteAddress, error });
    };
    try {
      const result = this.#settings.onPeer(channel);
      if (types.isPromise(result)) result.catch(fail);
    } catch (cause) {
      fail(cause);
    }
  }

  /** The user's handler runs by itself, so that what it throws cannot leave a connection half cleaned up. */
  #reject(rejection: Rejection): void {
    this.#byReason[rejection.reason] += 1;
    const { onRejected } = this.#settings;
    if (onRejected !== undefined) queueMicrotask(() => onRejected(rejection));
  }
}

function readSettings(options: BootstrapServerOptions): Settings {
  const { service = DEFAULT_SERVICE } = options;
  checkHandshakeText('service', service);
  if (options.onRejected !== undefined) checkFunction('onRejected', options.onRejected);
  return {
    secret: toSecretBytes('secret', options.secret),
    service,
    name: checkHandshakeText('name', options.name ?? service),
    onPeer: checkFunction<BootstrapServerOptions['onPeer']>('onPeer', options.onPeer),
    handshakeTimeoutMs: checkInteger(
      'handshakeTimeoutMs',
      options.handshakeTimeoutMs ?? DEFAULT_HANDSHAKE_MS,
      1,
      MAX_TIMEOUT_MS,
    ),
    maxPending: checkInteger('maxPending', options.maxPending ?? DEFAULT_PENDING, 1, 65536),
    maxPeers: checkInteger('maxPeers', options.maxPeers ?? 4096, 1, 1048576),
    onRejected: options.onRejected,
    tls: checkTls(options.tls),
  };
}
