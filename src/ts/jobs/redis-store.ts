// A store of jobs in Redis, for several gateways on several machines.
//
// Invariant: a server that would drop results to make room is refused; one that keeps nothing on disk is warned of.
import { RdmaError } from '../core/errors.js';
import { checkObject, checkString, invalidArgument } from '../core/validate.js';
import { RedisBackend } from './redis-backend.js';
import { RedisConnection } from './redis-connection.js';
import { loadRedis } from './redis-module.js';
import { type JobStorePort, JobStore, type JobStoreOptions } from './store.js';

const MAX_BYTES = 2 ** 30;

/** How to open a store in Redis. */
export interface RedisStoreOptions extends JobStoreOptions {
  /**
   * What all keys begin with, 1 to 64 of `A-Z a-z 0-9 . _ -`; default `onepiece`. Stores with another one do not see
   * each other.
   */
  prefix?: string;
}

/**
 * Opens a store of jobs in a Redis server (6 or later). Needs the package redis. An accepted job is as durable as the
 * server makes it: with `appendonly yes` and `appendfsync always` it is on disk before the server answers.
 *
 * @param url `redis[s]://[[user][:password]@]host[:port][/database]`
 * @param options `maxBytes` is 1 GiB by default
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED without the package, and for a server that evicts keys; RDMA_ERR_PEER_GONE
 *   when it
 *   does not answer; RDMA_ERR_UNAUTHENTICATED; RDMA_ERR_INVALID_ARGUMENT
 */
export async function redisStore(url: string, options: RedisStoreOptions = {}, port?: JobStorePort): Promise<JobStore> {
  checkUrl(url);
  const { prefix = 'onepiece' } = checkObject<RedisStoreOptions>('options', options);
  checkString('prefix', prefix, { pattern: /^[A-Za-z0-9._-]{1,64}$/ });
  const listeners = new Set<(id: string | undefined) => void>();
  const notify = (id: string | undefined) => {
    for (const listener of listeners) listener(id);
  };
  const { RESP_TYPES } = loadRedis();
  const connection = await RedisConnection.open(url, () => {});
  let subscriber: RedisConnection | undefined;
  try {
    await checkServer(connection);
    // What was published while it was away has been missed.
    const other = await RedisConnection.open(url, () => notify(undefined));
    subscriber = other;
    await other.call((client) => client.subscribe(`{${prefix}}:ended`, (id) => notify(id)));
    const bytesClient = connection.client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    const backend = new RedisBackend(connection, other, bytesClient as never, prefix, listeners);
    return new JobStore(backend, options, MAX_BYTES, port);
  } catch (error) {
    connection.close();
    subscriber?.close();
    throw error;
  }
}

function checkUrl(url: unknown): void {
  const text = checkString('url', url, { minLength: 1, maxLength: 2048 });
  const parsed = URL.canParse(text) ? new URL(text) : undefined;
  if (parsed?.protocol === 'redis:' || parsed?.protocol === 'rediss:') return;
  throw invalidArgument('url', parsed === undefined ? url : `${parsed.protocol}...`, 'a URL such as redis://host:6379');
}

async function checkServer(connection: RedisConnection): Promise<void> {
  let settings: Record<string, string>;
  try {
    settings = await connection.call((client) =>
      client.configGet(['maxmemory', 'maxmemory-policy', 'appendonly', 'appendfsync']),
    );
  } catch (error) {
    // Hosted servers do not show their settings.
    const { code } = error as RdmaError;
    if (code === 'RDMA_ERR_PROTOCOL' || code === 'RDMA_ERR_UNAUTHENTICATED') return;
    throw error;
  }
  const { maxmemory, 'maxmemory-policy': policy, appendonly, appendfsync } = settings;
  if (maxmemory !== '0' && policy !== 'noeviction') {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `this Redis drops keys when its memory is full (${policy})`, {
      remedy: 'set maxmemory-policy noeviction, or use another server',
    });
  }
  if (appendonly === 'yes' && appendfsync === 'always') return;
  const text = `this Redis may lose accepted jobs when it ends (appendonly ${appendonly}, appendfsync ${appendfsync})`;
  process.emitWarning(text, { code: 'ONEPIECE_REDIS_DURABILITY', detail: 'Set appendonly yes, appendfsync always.' });
}
