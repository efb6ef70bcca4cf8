// The key-value bucket behind a control store: found, or made.
//
// Invariant: processes that open the same bucket at the same time all get it, whoever makes it; the limits are those of
// the one that made it. A bucket that would lose records is refused.
import { RdmaError } from '../core/errors.js';
import { isBucketAway, isNoBucket, isTaken } from './nats-errors.js';
import type { Nats, NatsBucket, NatsClient, NatsManager } from './nats-module.js';

/** What is made when the bucket is not there. */
export interface BucketPlan {
  readonly name: string;
  readonly replicas: number;
  /** Undefined: what the server allows. */
  readonly maxBytes: number | undefined;
}

type Config = Awaited<ReturnType<NatsManager['streams']['info']>>['config'];

/**
 * Opens a bucket; makes it when it is not there.
 *
 * Between the look and the creation another process may make it. Then the server refuses other limits: the name is in
 * use. It may refuse equal ones, too: the subjects are in use (seen with nats-server 2.9.10, which lets go of its lock
 * between the comparison of names and that of subjects). So a creation that is refused leads to one more look.
 * And a bucket that another process makes can be seen before the server takes writes to it.
 *
 * @param where names it in errors
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when a stream has its name that is no bucket for a control store; errors of
 *   the client, also that nobody serves the bucket yet
 */
export async function openBucket(
  nats: Nats,
  client: NatsClient,
  manager: NatsManager,
  plan: BucketPlan,
  where: string,
): Promise<NatsBucket> {
  const { name, replicas, maxBytes } = plan;
  const buckets = new nats.kv.Kvm(client);
  let config = await configOf(manager, name);
  if (config === undefined) {
    const limits = { replicas, ...(maxBytes === undefined ? {} : { max_bytes: maxBytes }) };
    let taken: unknown;
    try {
      await buckets.create(name, { history: 1, ...limits });
    } catch (error) {
      if (!isTaken(error)) throw error;
      taken = error;
    }
    config = await configOf(manager, name);
    // Its subjects are those of another stream, or it has been deleted already.
    if (config === undefined) throw taken ?? new RdmaError('RDMA_ERR_NOT_FOUND', `${where} was deleted`);
  }
  checkConfig(config, name, where);
  await checkServed(client, name);
  return await buckets.open(name, { allow_direct: config.allow_direct });
}

/** Of a bucket that is there. */
async function configOf(manager: NatsManager, name: string): Promise<Config | undefined> {
  try {
    return (await manager.streams.info(`KV_${name}`)).config;
  } catch (error) {
    if (isNoBucket(error)) return undefined;
    throw error;
  }
}

/** Asks for a write to another stream, which is always refused. Any answer shows that writes are heard. */
async function checkServed(client: NatsClient, name: string): Promise<void> {
  try {
    await client.publish(`$KV.${name}.-`, new Uint8Array(), { expect: { streamName: `not KV_${name}` } });
  } catch (error) {
    if (isBucketAway(error)) throw error;
  }
}

function checkConfig(config: Config, name: string, where: string): void {
  const fail = (why: string) => {
    const remedy = 'name another bucket, or delete this one: it is made as it must be';
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', `${where} ${why}`, { remedy });
  };
  if (config.subjects?.includes(`$KV.${name}.>`) !== true) fail('has not the subjects of a bucket');
  if (config.sealed === true) fail('is sealed');
  if (config.max_age > 0) fail('drops records that are old');
}
