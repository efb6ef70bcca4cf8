// A connection to Redis that comes back.
//
// Invariant: a command is repeated only by those who know that it may be. A server that is away, stopped or loading is
// waited for, for a while; then its absence is the answer.
import { setTimeout as sleep } from 'node:timers/promises';
import { RdmaError } from '../core/errors.js';
import { loadRedis, type RedisClient } from './redis-module.js';

/** How long a call waits for a server that is away. */
const PATIENCE_MS = 5000;
const CONNECT_MS = 5000;
const PING_MS = 2000;
/** A server that says nothing for so long, not even to a ping, is given up. */
const SILENT_MS = 8000;
const MAX_PAUSE_MS = 500;

/** Replies of a server that will answer later (Redis, "redis.conf" and "Cluster specification"). */
const LATER = /^(LOADING|BUSY|MASTERDOWN|READONLY|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|UNBLOCKED) /;
const FULL = /^(OOM|MISCONF) /;
const FORBIDDEN = /^(NOAUTH|WRONGPASS|NOPERM)/;

/** @internal */
export class RedisConnection {
  private isClosed = false;

  private constructor(
    readonly client: RedisClient,
    private readonly isReply: (error: unknown) => boolean,
    private readonly address: string,
  ) {}

  /**
   * Connects.
   *
   * @param onReady called each time it is connected (again)
   * @throws RdmaError RDMA_ERR_PEER_GONE; RDMA_ERR_UNAUTHENTICATED; RDMA_ERR_NOT_SUPPORTED without the package
   */
  static async open(url: string, onReady: () => void): Promise<RedisConnection> {
    const { createClient, ErrorReply } = loadRedis();
    const address = new URL(url).host;
    const isReply = (error: unknown) => error instanceof ErrorReply;
    let opened = false;
    let refusal: Error | undefined;
    const endMs = performance.now() + PATIENCE_MS;
    const client = createClient({
      url,
      disableOfflineQueue: true,
      pingInterval: PING_MS,
      socket: {
        connectTimeout: CONNECT_MS,
        socketTimeout: SILENT_MS,
        reconnectStrategy: (retries, cause) => {
          if (isReply(cause)) refusal = cause;
          // What the server refuses now, it refuses again.
          if (!opened && (performance.now() > endMs || isReply(cause))) return cause;
          return Math.min(20 * 2 ** Math.min(retries, 10), MAX_PAUSE_MS);
        },
      },
    });
    // Whoever calls learns of it.
    client.on('error', () => {});
    client.on('ready', onReady);
    const connection = new RedisConnection(client as RedisClient, isReply, address);
    try {
      await client.connect();
      opened = true;
    } catch (error) {
      connection.close();
      throw connection.failure(refusal ?? error) ?? connection.away(error);
    }
    return connection;
  }

  /**
   * Asks the server.
   *
   * @param ask may be called several times, though the server has done it: only what may be done twice
   * @throws RdmaError RDMA_ERR_PEER_GONE when it was away for too long; RDMA_ERR_STORE_FULL; RDMA_ERR_UNAUTHENTICATED
   */
  async call<T>(ask: (client: RedisClient) => Promise<T>): Promise<T> {
    const endMs = performance.now() + PATIENCE_MS;
    for (let pauseMs = 10; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      if (this.isClosed) throw new RdmaError('RDMA_ERR_CLOSED', 'the store of jobs is closed');
      try {
        return await ask(this.client);
      } catch (error) {
        const failure = this.failure(error);
        if (failure !== undefined) throw failure;
        if (performance.now() > endMs) throw this.away(error);
      }
      await sleep(pauseMs);
    }
  }

  // undefined: it may answer later.
  private failure(error: unknown): RdmaError | undefined {
    const { message } = error as Error;
    if (!this.isReply(error) || LATER.test(message)) return undefined;
    const text = `Redis at ${this.address}: ${message}`;
    if (FULL.test(message)) {
      const remedy = 'raise maxmemory or make room on its disk, or remove jobs';
      return new RdmaError('RDMA_ERR_STORE_FULL', text, { remedy, cause: error });
    }
    const code = FORBIDDEN.test(message) ? 'RDMA_ERR_UNAUTHENTICATED' : 'RDMA_ERR_PROTOCOL';
    return new RdmaError(code, text, { cause: error });
  }

  private away(cause: unknown): RdmaError {
    const text = `Redis at ${this.address} does not answer: ${String((cause as Error)?.message || cause)}`;
    return new RdmaError('RDMA_ERR_PEER_GONE', text, { remedy: 'try again when it runs', cause });
  }

  close(): void {
    this.isClosed = true;
    if (this.client.isOpen) this.client.destroy();
  }
}
