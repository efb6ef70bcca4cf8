// A connection to NATS that comes back.
//
// Invariant: while the connection is away it sends nothing, so no request takes effect after its caller has given it
// up. Refused credentials are tried again, as they may be renewed.
import { Bell } from './bell.js';
import { realTimers } from '../core/deadline.js';
import { RdmaError } from '../core/errors.js';
import { isForbidden, natsFailure } from './nats-errors.js';
import type { Nats, NatsConnection } from './nats-module.js';

export interface ConnectSettings {
  readonly servers: readonly string[];
  readonly name: string;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly connection: Readonly<Record<string, unknown>>;
}

const PING_MS = 2000;
const RECONNECT_MS = 200;

/** @internal */
export class NatsLink {
  isConnected = true;
  /** Called when it is away, and when it is back. */
  onAway: () => void = () => {};
  onBack: () => void = () => {};
  private refusal: unknown;
  private isClosed = false;
  private readonly waiting = new Set<() => void>();

  private constructor(
    private readonly nats: Nats,
    readonly client: NatsConnection,
    private readonly settings: ConnectSettings,
  ) {
    void this.follow();
  }

  /** @throws RdmaError RDMA_ERR_PEER_GONE, RDMA_ERR_UNAUTHENTICATED, RDMA_ERR_INVALID_ARGUMENT */
  static async open(nats: Nats, settings: ConnectSettings): Promise<NatsLink> {
    const { servers, name, connectTimeoutMs, connection } = settings;
    const endMs = performance.now() + connectTimeoutMs;
    const rest = new Bell(realTimers);
    for (;;) {
      try {
        const client = await nats.transport.connect({
          pingInterval: PING_MS,
          maxPingOut: 2,
          reconnectTimeWait: RECONNECT_MS,
          ...connection,
          servers: [...servers],
          name,
          // Of one attempt. Clients that give up early would ask a busy server again all the time.
          timeout: Math.max(connectTimeoutMs, 100),
          reconnect: true,
          maxReconnectAttempts: -1,
          waitOnFirstConnect: false,
          // A clock may be wrong, and credentials are renewed.
          ignoreAuthErrorAbort: true,
        });
        return new NatsLink(nats, client, settings);
      } catch (error) {
        const where = `NATS at ${servers.join(', ')}`;
        if (isForbidden(error)) throw natsFailure(error, where);
        if (performance.now() >= endMs) {
          const text = `${where} does not answer: ${String((error as Error)?.message)}`;
          throw new RdmaError('RDMA_ERR_PEER_GONE', text, {
            remedy: 'start nats-server, with --jetstream',
            cause: error,
          });
        }
      }
      await rest.wait(Math.min(200, connectTimeoutMs));
    }
  }

  get where(): string {
    return `NATS at ${this.settings.servers.join(', ')}`;
  }

  /** A subject that nobody else listens to, where this client may listen. */
  inbox(): string {
    const { inboxPrefix } = this.settings.connection;
    return this.nats.transport.createInbox(typeof inboxPrefix === 'string' ? inboxPrefix : undefined);
  }

  /**
   * Waits until it is connected, for as long as a call may take.
   *
   * @throws RdmaError RDMA_ERR_PEER_GONE, RDMA_ERR_UNAUTHENTICATED, RDMA_ERR_CLOSED: and nothing was asked of it
   */
  async ready(): Promise<void> {
    if (this.isConnected) return;
    // A refused attempt need not run until its time-out; another one follows anyway.
    if (!this.isClosed && this.refusal === undefined) {
      await new Promise<void>((resolve) => {
        const end = () => {
          this.waiting.delete(end);
          cancelTimer();
          resolve();
        };
        const cancelTimer = realTimers.after(this.settings.timeoutMs, end);
        this.waiting.add(end);
      });
    }
    if (this.isClosed) throw new RdmaError('RDMA_ERR_CLOSED', 'the control store is closed');
    if (this.isConnected) return;
    if (this.refusal !== undefined) throw natsFailure(this.refusal, this.where);
    throw new RdmaError('RDMA_ERR_PEER_GONE', `${this.where} is away`, { remedy: 'it is tried again all the time' });
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.isConnected = false;
    this.wake();
    await this.client.close();
  }

  private async follow(): Promise<void> {
    for await (const status of this.client.status()) {
      if (status.type === 'disconnect' && this.isConnected) {
        this.isConnected = false;
        this.onAway();
      } else if (status.type === 'reconnect') {
        this.refusal = undefined;
        this.isConnected = true;
        this.onBack();
        this.wake();
      } else if (status.type === 'error' && isForbidden(status.error)) this.refusal = status.error;
    }
  }

  private wake(): void {
    for (const end of [...this.waiting]) end();
  }
}
