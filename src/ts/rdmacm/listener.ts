// Listening, and the requests of peers.
//
// Invariant: a request is answered once: accepted, rejected, withdrawn by its peer, or rejected because the listener
// closed or too many waited. Connections outlive the listener that they came through.
import { RdmaError } from '../core/errors.js';
import { checkBoolean, checkFunction, checkInteger, checkObject, checkString } from '../core/validate.js';
import { CmEventChannel } from './cm-event-channel.js';
import type { ConnectionId, IdEvent } from './connection-id.js';
import { IdOption } from './connection-id.js';
import { ConnectionRequest } from './connection-request.js';
import { type CmSocketAddress, resolveHost } from './socket-address.js';

/** Where to listen. */
export interface ListenOptions {
  /** Host name or IP address; default every IPv4 and IPv6 address (`::`). */
  host?: string | undefined;
  /** 1 to 65535, in the port space of rdma_cm, which is not TCP's; 0, the default, takes a free one. */
  port?: number | undefined;
  /** Requests that may wait, 1 to 65535; more are rejected. Default 128. */
  backlog?: number | undefined;
  /** Take the port although another listener of this machine reuses it too; default false. */
  reuseAddress?: boolean | undefined;
  /** On an IPv6 address, take no IPv4 peers; default false. */
  ipv6Only?: boolean | undefined;
}

const KERNEL_BACKLOG = 128;

/** Made by {@link listen}. Keeps the process alive until it is closed. */
export class Listener implements AsyncIterable<ConnectionRequest>, Disposable {
  /** Where it listens, with the port that was chosen. */
  readonly address: CmSocketAddress;
  private readonly waiting: ConnectionRequest[] = [];
  private takers: ((result: IteratorResult<ConnectionRequest>) => void)[] = [];
  private open = true;
  private holding: CmEventChannel | undefined;

  /** @internal Takes over `id`, which is bound. */
  constructor(
    private readonly id: ConnectionId,
    private readonly backlog: number,
    private readonly onRequest: ((request: ConnectionRequest) => void) | undefined,
  ) {
    id.onEvent = (event) => this.receive(event);
    id.onClose = () => this.ended();
    // Requests that find the kernel's own list full are dropped without an answer; ours is where they are counted.
    id.listen(Math.max(backlog, KERNEL_BACKLOG));
    this.address = id.localAddress ?? { address: '::', port: 0 };
    this.holding = id.channel;
    this.holding.hold();
  }

  /** Whether it still listens. */
  get listening(): boolean {
    return this.open;
  }

  private receive(event: IdEvent): void {
    const { request: id } = event;
    // DEVICE_REMOVAL: a listener that is bound to no single device goes on.
    if (id === undefined) {
      if (event.name === 'DEVICE_REMOVAL') this.close();
      return;
    }
    const request = new ConnectionRequest(id, event, () => this.forget(request));
    if (this.onRequest !== undefined) {
      this.onRequest(request);
      return;
    }
    const taker = this.takers.shift();
    if (taker !== undefined) taker({ done: false, value: request });
    else if (this.waiting.length >= this.backlog) request.reject();
    else this.waiting.push(request);
  }

  private forget(request: ConnectionRequest): void {
    const at = this.waiting.indexOf(request);
    if (at >= 0) this.waiting.splice(at, 1);
  }

  /**
   * The next request that waits. Without `onRequest` only.
   *
   * @returns done when the listener is closed
   */
  next(): Promise<IteratorResult<ConnectionRequest>> {
    const value = this.waiting.shift();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (!this.open) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.takers.push(resolve));
  }

  /** The requests, one after the other; ends when the listener is closed. Leaving the loop closes it. */
  async *[Symbol.asyncIterator](): AsyncIterator<ConnectionRequest> {
    if (this.onRequest !== undefined) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', 'a listener with onRequest has no requests to iterate over');
    }
    try {
      for (let next = await this.next(); !next.done; next = await this.next()) yield next.value;
    } finally {
      this.close();
    }
  }

  /** Lets the process end although it listens; it does not otherwise. */
  unref(): void {
    this.holding?.release();
    this.holding = undefined;
  }

  /** Listens no more; requests that wait are rejected. Connections stay. A second call does nothing. */
  close(): void {
    this.id.close();
  }

  private ended(): void {
    this.open = false;
    for (const request of this.waiting.splice(0)) request.reject();
    for (const taker of this.takers.splice(0)) taker({ done: true, value: undefined });
    this.unref();
  }

  /** As close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Listens for connections.
 *
 * @param onRequest gets each request; without it, iterate over the listener
 * @throws RdmaError EADDRINUSE, EADDRNOTAVAIL; RDMA_ERR_NO_DEVICE when there is no RDMA device, or none has the
 *   address; RDMA_ERR_NOT_SUPPORTED without librdmacm; ENOTFOUND; RDMA_ERR_INVALID_ARGUMENT
 * @see rdma_listen(3); rdma_cm(7), "Server operation"
 */
export async function listen(
  options: ListenOptions = {},
  onRequest?: (request: ConnectionRequest) => void,
): Promise<Listener> {
  checkObject('options', options);
  const host = checkString('host', options.host ?? '::', { minLength: 1, maxLength: 255 });
  const port = checkInteger('port', options.port ?? 0, 0, 65535);
  const backlog = checkInteger('backlog', options.backlog ?? 128, 1, 65535);
  const reuse = checkBoolean('reuseAddress', options.reuseAddress ?? false);
  const ipv6Only = checkBoolean('ipv6Only', options.ipv6Only ?? false);
  if (onRequest !== undefined) checkFunction('onRequest', onRequest);
  const address = await resolveHost(host, port);
  const id = CmEventChannel.shared().createId();
  try {
    if (reuse) id.setOption(IdOption.REUSE_ADDRESS, 1);
    if (ipv6Only) id.setOption(IdOption.ONE_FAMILY, 1);
    id.bind(address);
    return new Listener(id, backlog, onRequest);
  } catch (error) {
    id.close();
    throw error;
  }
}
