// The only door to Fastify, an optional peer dependency. Invariant: it is loaded when a server starts and not before.
import { loadPeer } from './peer.js';

export type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

/** Loads Fastify. @throws RdmaError RDMA_ERR_NOT_SUPPORTED when it is not installed */
export async function loadFastify(): Promise<typeof import('fastify').fastify> {
  return (await loadPeer('fastify', () => import('fastify'))).fastify;
}
