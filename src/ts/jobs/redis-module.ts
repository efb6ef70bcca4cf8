// The package redis, which only the store in Redis needs. The only file that imports it.
//
// Invariant: nothing is loaded until a store in Redis is opened.
import type * as Redis from 'redis';
import { RdmaError } from '../core/errors.js';

/** Connected, or connecting again. */
export type RedisClient = ReturnType<typeof Redis.createClient>;

/** @internal @throws RdmaError RDMA_ERR_NOT_SUPPORTED with the install command when the package is missing */
export function loadRedis(): typeof Redis {
  try {
    // Not import(): a worker's bundle is a script that cannot.
    return require('redis') as typeof Redis;
  } catch (cause) {
    throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', 'a store of jobs in Redis needs the package redis', {
      remedy: 'npm install redis',
      cause,
    });
  }
}
