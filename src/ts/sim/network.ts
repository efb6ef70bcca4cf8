// The bootstrap network of the simulation: servers, and channels of documents between two processes.
//
// Invariant: as connect's channels: documents arrive in order or not at all, and a channel ends exactly once on each
// side. The kernel speaks for a dead process, and holds for a stopped one what comes.
import { isDeepStrictEqual } from 'node:util';
import { RdmaError } from '../core/errors.js';
import type { PortChannel, PortServer, RingPort } from '../ring/port.js';
import type { SimProcess } from './process.js';
import { type Scheduler, Sequence } from './scheduler.js';

/** From one process to the other, in ms. */
const TRANSIT_MS = { low: 0.02, high: 2 };
const DEFAULT_TIMEOUT_MS = 5000;
const FIRST_PORT = 40000;

type ListenOptions = Parameters<RingPort['listen']>[0];
type ConnectOptions = Parameters<RingPort['connect']>[0];
type Item = { document: string } | 'goodbye' | 'reset';

const gone = () => new RdmaError('RDMA_ERR_PEER_GONE', 'the peer is gone');

class SimServer implements PortServer {
  readonly address: { host: string; port: number };
  readonly process: SimProcess;
  readonly options: ListenOptions;
  readonly channels = new Set<SimChannel>();
  readonly pending = 0;
  readonly hasLocalSocket = false;
  readonly counters = { rejectedByReason: { unauthenticated: 0, busy: 0 } };
  private readonly network: SimNetwork;

  constructor(network: SimNetwork, process: SimProcess, port: number, options: ListenOptions) {
    this.network = network;
    this.process = process;
    this.options = options;
    this.address = { host: options.host, port };
  }

  get peers(): number {
    return this.channels.size;
  }

  reject(reason: 'unauthenticated' | 'busy', error: RdmaError): RdmaError {
    this.counters.rejectedByReason[reason]++;
    this.options.onRejected?.({ reason, remoteAddress: { host: 'sim', port: 0 }, error });
    return error;
  }

  close(): Promise<void> {
    this.network.servers.delete(this.address.port);
    for (const channel of this.channels) channel.close();
    return Promise.resolve();
  }
}

export class SimChannel implements PortChannel {
  readonly peerName: string;
  readonly process: SimProcess;
  peer: SimChannel | undefined;
  closed = false;
  error: RdmaError | undefined;
  /** Called when it is gone. */
  onGone: (() => void) | undefined;
  private readonly toPeer: Sequence<Item>;
  private readonly held: unknown[] = [];
  private readonly waiters: { resolve: (document: unknown) => void; reject: (error: RdmaError) => void }[] = [];
  private message: ((document: unknown) => void) | undefined;
  private end: ((error?: RdmaError) => void) | undefined;
  private gone = false;
  private reported = false;
  private readonly scheduler: Scheduler;

  constructor(scheduler: Scheduler, process: SimProcess, peerName: string) {
    this.scheduler = scheduler;
    this.process = process;
    this.peerName = peerName;
    this.toPeer = new Sequence<Item>(
      scheduler,
      () => this.peer?.process,
      true,
      () => scheduler.choices.delay(TRANSIT_MS.low, TRANSIT_MS.high),
      (item) => this.peer?.arrive(item),
    );
    process.onDeath.push(() => {
      if (!this.closed) this.abandon();
    });
  }

  get onMessage(): ((document: unknown) => void) | undefined {
    return this.message;
  }
  set onMessage(handler: ((document: unknown) => void) | undefined) {
    this.message = handler;
    queueMicrotask(() => this.flush());
  }

  get onClose(): ((error?: RdmaError) => void) | undefined {
    return this.end;
  }
  set onClose(handler: ((error?: RdmaError) => void) | undefined) {
    this.end = handler;
    if (this.gone) queueMicrotask(() => this.report());
  }

  send(document: object): void {
    this.process.checkAlive();
    if (this.closed) throw new RdmaError('RDMA_ERR_CLOSED', 'the channel is closed');
    this.toPeer.push({ document: JSON.stringify(document) });
  }

  receive({ timeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal }): Promise<unknown> {
    if (this.message !== undefined) return Promise.reject(new RdmaError('RDMA_ERR_BUSY', 'onMessage is set'));
    const aborted = () => new RdmaError('RDMA_ERR_ABORTED', 'receive was aborted');
    if (signal?.aborted) return Promise.reject(aborted());
    if (this.held.length > 0) return Promise.resolve(this.held.shift());
    if (this.closed) return Promise.reject(this.error ?? new RdmaError('RDMA_ERR_CLOSED', 'the channel is closed'));
    return new Promise((resolve, reject) => {
      const ms = timeoutMs ?? DEFAULT_TIMEOUT_MS;
      const late = () => fail(new RdmaError('RDMA_ERR_TIMEOUT', `no document came within ${ms} ms`));
      const cancelTimer = this.process.clock.after(ms, late);
      const onAbort = () => fail(aborted());
      signal?.addEventListener('abort', onAbort);
      const settle = () => {
        cancelTimer();
        signal?.removeEventListener('abort', onAbort);
      };
      const waiter = {
        resolve: (document: unknown) => {
          settle();
          resolve(document);
        },
        reject: (error: RdmaError) => {
          settle();
          reject(error);
        },
      };
      const fail = (error: RdmaError) => {
        this.waiters.splice(this.waiters.indexOf(waiter), 1);
        waiter.reject(error);
      };
      this.waiters.push(waiter);
    });
  }

  close(): void {
    if (this.closed || this.process.state === 'dead') return;
    this.toPeer.push('goodbye');
    this.finish(undefined, false);
  }

  destroy(error?: RdmaError): void {
    if (this.closed || this.process.state === 'dead') return;
    this.abandon();
    this.finish(error, false);
  }

  /** The connection breaks: both sides learn it, and messages under way are lost. */
  cut(): void {
    this.toPeer.clear();
    this.peer?.toPeer.clear();
    this.toPeer.push('reset');
    this.peer?.toPeer.push('reset');
  }

  /** The peer finds the connection reset; what was sent before may get there first, or be lost with it. */
  abandon(): void {
    if (this.scheduler.choices.chance(0.5, 'tear')) this.toPeer.clear();
    this.toPeer.push('reset');
  }

  private arrive(item: Item): void {
    if (typeof item === 'object') {
      if (this.closed) return;
      const document: unknown = JSON.parse(item.document);
      const waiter = this.waiters.shift();
      if (waiter !== undefined) waiter.resolve(document);
      else this.held.push(document);
      this.flush();
      return;
    }
    if (!this.closed) this.finish(item === 'reset' ? gone() : undefined, true);
  }

  private finish(error: RdmaError | undefined, keepHeld: boolean): void {
    this.closed = true;
    this.error = error;
    if (!keepHeld) this.held.length = 0;
    for (const waiter of this.waiters.splice(0)) {
      waiter.reject(error ?? new RdmaError('RDMA_ERR_CLOSED', 'the channel is closed'));
    }
    this.onGone?.();
    this.process.later(0, () => {
      this.gone = true;
      this.report();
    });
  }

  private flush(): void {
    while (this.message !== undefined && this.held.length > 0) {
      const document = this.held.shift();
      try {
        this.message(document);
      } catch (cause) {
        this.destroy(new RdmaError('RDMA_ERR_HANDLER', 'the onMessage handler threw', { cause }));
      }
    }
  }

  private report(): void {
    if (this.reported || this.end === undefined) return;
    this.flush();
    if (this.reported) return;
    this.reported = true;
    if (this.error === undefined) this.end();
    else this.end(this.error);
  }
}

export class SimNetwork {
  readonly servers = new Map<number, SimServer>();
  /** Connections that were made, one end of each. */
  readonly channels = new Set<SimChannel>();
  private readonly scheduler: Scheduler;
  private lastPort = FIRST_PORT;

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler;
  }

  listen(process: SimProcess, options: ListenOptions): Promise<PortServer> {
    process.checkAlive();
    const port = options.port === 0 ? ++this.lastPort : options.port;
    if (this.servers.get(port) !== undefined) {
      return Promise.reject(new RdmaError('EADDRINUSE', `port ${port} is in use`));
    }
    const server = new SimServer(this, process, port, options);
    this.servers.set(port, server);
    process.onDeath.push(() => {
      if (this.servers.get(port) === server) this.servers.delete(port);
    });
    return Promise.resolve(server);
  }

  /** Connects: the way there, what the server says, and the way back. */
  connect(process: SimProcess, options: ConnectOptions): Promise<PortChannel> {
    const { port, timeoutMs, signal, name, secret, service } = options;
    return new Promise((resolve, reject) => {
      process.checkAlive();
      let over = false;
      const settle = (): boolean => {
        if (over) return false;
        over = true;
        cancelTimer();
        signal.removeEventListener('abort', onAbort);
        return true;
      };
      const fail = (error: RdmaError) => {
        if (settle()) reject(error);
      };
      const onAbort = () => fail(new RdmaError('RDMA_ERR_ABORTED', 'connecting was aborted'));
      const late = () => fail(new RdmaError('RDMA_ERR_TIMEOUT', `nobody answered within ${timeoutMs} ms`));
      const cancelTimer = process.clock.after(timeoutMs, late);
      signal.addEventListener('abort', onAbort);
      const back = (call: () => void) => this.transit(process, call);
      const server = this.servers.get(port);
      const refused = () => back(() => fail(new RdmaError('ECONNREFUSED', `nobody listens on port ${port}`)));
      if (server === undefined) {
        refused();
        return;
      }
      // A server that dies on the way takes the question with it: the kernel answers, as for a port that is closed.
      server.process.onDeath.push(refused);
      this.transit(server.process, () => {
        if (this.servers.get(port) !== server) return refused();
        if (!isDeepStrictEqual(secret, server.options.secret) || service !== server.options.service) {
          const error = server.reject(
            'unauthenticated',
            new RdmaError('RDMA_ERR_UNAUTHENTICATED', 'the secrets differ'),
          );
          return back(() => fail(error));
        }
        if (server.channels.size >= server.options.maxPeers) {
          const error = server.reject('busy', new RdmaError('RDMA_ERR_PEER_GONE', 'the server has too many peers'));
          return back(() => fail(error));
        }
        const near = new SimChannel(this.scheduler, server.process, name);
        const far = new SimChannel(this.scheduler, process, 'inbox');
        near.peer = far;
        far.peer = near;
        server.channels.add(near);
        this.channels.add(near);
        near.onGone = () => {
          server.channels.delete(near);
          this.channels.delete(near);
        };
        // The kernel of a process that is dead by now resets the connection.
        if (process.state === 'dead') far.abandon();
        server.options.onPeer(near);
        back(() => {
          if (settle()) resolve(far);
          else if (!far.closed) far.destroy();
        });
      });
    });
  }

  private transit(owner: SimProcess, call: () => void): void {
    owner.later(this.scheduler.choices.delay(TRANSIT_MS.low, TRANSIT_MS.high), call);
  }
}
